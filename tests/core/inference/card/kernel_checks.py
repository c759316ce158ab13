"""Each Triton kernel against plain torch on random numbers of odd sizes: on a card, or in Triton's interpreter.

`python -m tests.core.inference.card.kernel_checks [DEVICE]` prints one JSON object, by check the largest difference as
a share of what is allowed. The interpreter must be asked for before Triton is imported, hence the process of its own.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from core.chat.turns import Sampling
from core.inference.attention import Arithmetic
from core.inference.card.decoder import CardDecoder
from core.inference.card.operations import Plain, Spot, rows_seen
from core.inference.card.rows import StaticInt8Rows, StaticPlainRows
from core.inference.card.weights import taken
from core.inference.dense import DenseDecoder
from core.inference.engine import Engine, NewToken
from core.inference.kv_choice import keep
from core.inference.kv_int8 import ChannelSizes
from core.inference.norms import Norm
from core.models.quantised import at_load
from core.models.quantised.linear import QuantisedLinear
from core.models.quantised.product import multiply_dequantised
from core.models.quantised.rounding import rounded, to_int4, to_int8
from core.models.quantised.weight import QuantisedWeight
from tests.helpers import tiny_models, tiny_qwen_v1

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
# Relative, of each element. The interpreter cuts where a card rounds, and a placed element is rounded four times.
ALLOWED = {torch.float32: 3e-5, torch.bfloat16: 0.035 if IS_INTERPRETED else 0.012}
HALF = (torch.float32, torch.bfloat16)

Case = tuple[str, Callable[[], float]]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def off(found: Tensor, expected: Tensor, allowed: float | None = None) -> float:
    """How far it is, as a share of what is allowed."""
    limit = ALLOWED[found.dtype] if allowed is None else allowed
    spread = float(expected.float().square().mean().sqrt())
    if not bool(found.isfinite().all()):
        return float("inf")
    wide = expected.float()
    return float(((found.float() - wide).abs() / (wide.abs() + spread)).max()) / limit


def norm_cases(device: str) -> Iterator[Case]:
    from core.inference.card.fused import Fused

    for dtype in HALF:
        for rows, width in ((1, 64), (4, 576), (3, 100)):
            x, delta = (random(rows, width, seed=seed, dtype=dtype, device=device) for seed in (1, 2))
            norm = Norm(random(width, seed=3, dtype=dtype, device=device), 1e-6)

            def case(x: Tensor = x, delta: Tensor = delta, norm: Norm = norm) -> float:
                sums = zip(Fused().add_norm(x, delta, norm), Plain().add_norm(x, delta, norm), strict=True)
                return max(off(Fused().norm(x, norm), norm(x)), *(off(a, b) for a, b in sums))

            yield f"norm {dtype} {rows}x{width}", case


def gate_cases(device: str) -> Iterator[Case]:
    from core.inference.card.fused import Fused

    for dtype in HALF:
        for rows, width in ((1, 96), (4, 1536), (2, 1100)):
            both = random(rows, 2 * width, dtype=dtype, device=device) * 3
            yield f"gate {dtype} {rows}x{width}", lambda both=both: off(Fused().gate(both), Plain().gate(both))


def filled(kind: str, kv_heads: int, width: int, filled: int, dtype: torch.dtype, device: str) -> Any:
    how = Arithmetic(dtype, False, False)
    keys, values = (random(kv_heads, filled, width, seed=seed, dtype=dtype, device=device) for seed in (11, 12))
    keys[..., 1] *= 20  # the outliers that channel sizes are for
    rows: Any = StaticPlainRows(how, 4096)
    if kind == "int8":
        rows = StaticInt8Rows(how, 4096, ChannelSizes.of(keys))
    rows.write(0, keys, values)
    return rows


def spot(new: int, at: int, width: int, room: int, tables: torch.dtype, device: str, *, has_scale: bool) -> Spot:
    places = torch.arange(at, at + new, device=device)
    angles = random(new, 1, width // 2, seed=21, device=device).repeat(1, 1, 2)
    scale = (random(new, 1, 1, seed=22, device=device).abs() + 1) if has_scale else None
    return Spot(places, angles.cos().to(tables), angles.sin().to(tables), scale, rows_seen(places, room))


SHAPES = ((1, 4, 2, 16, 37), (1, 4, 4, 128, 300), (4, 6, 2, 64, 129), (1, 8, 1, 80, 1), (3, 3, 3, 24, 600))


def rows_cases(device: str) -> Iterator[Case]:
    """Placing, and attention over what was placed: new tokens, heads, key heads, width, rows before."""
    for kind in ("plain", "int8"):
        for dtype in HALF:
            for shape in SHAPES:
                name = f"{kind} {dtype} {'x'.join(map(str, shape))}"
                for norm in (False, True):
                    way = f"{name} normed" if norm else name
                    yield f"place {way}", lambda a=(kind, dtype, shape, norm): placed(*a, device)
                yield f"attend {name}", lambda a=(kind, dtype, shape): attended(*a, device)


def placed(kind: str, dtype: torch.dtype, shape: tuple[int, ...], has_norm: bool, device: str) -> float:
    from core.inference.card.fused import Fused

    new, heads, kv_heads, width, before = shape
    tables = torch.float32 if has_norm else dtype
    where = spot(new, before, width, 0, tables, device, has_scale=not has_norm)
    qkv = random(new, heads + 2 * kv_heads, width, seed=31, dtype=dtype, device=device)
    norm = Norm(random(heads + kv_heads, width, seed=32, dtype=dtype, device=device), 1e-6) if has_norm else None
    mine, theirs = (filled(kind, kv_heads, width, before + new, dtype, device) for _ in range(2))
    found = Fused().place(qkv, heads, norm, where, mine)
    expected = Plain().place(qkv, heads, norm, where, theirs)
    worst = off(found, expected)
    for a, b in zip(mine.buffers, theirs.buffers, strict=True):
        if a.dtype in (torch.int8, torch.uint8):
            steps = (a.int() - b.int()).abs()
            share = 0.0 if IS_INTERPRETED else float((steps > 0).float().mean()) / 0.02
            worst = max(worst, float(steps.max()) / (2.5 if IS_INTERPRETED else 1.5), share)
        else:
            worst = max(worst, off(a, b))
    return worst


def attended(kind: str, dtype: torch.dtype, shape: tuple[int, ...], device: str) -> float:
    from core.inference.card.fused import Fused

    new, heads, kv_heads, width, before = shape
    rows = filled(kind, kv_heads, width, before + new, dtype, device)
    for buffer in rows.buffers:  # what lies behind the last row must not count
        behind = buffer.narrow(-1 if buffer.dim() < 3 or buffer.shape[-1] != width else -2, before + new, 1)
        behind.fill_(100)
    where = spot(new, before, width, rows.room, dtype, device, has_scale=False)
    queries = random(new, heads, width, seed=41, dtype=dtype, device=device)
    found = Fused().attend(queries, where, rows, rows.room)
    rows._how = Arithmetic(torch.float32, False, False)  # 8 bits are read in the precision of the reference
    keys, values = rows.seen(rows.room)
    reference = StaticPlainRows(rows._how, 4096)
    reference.write(0, keys[0].float(), values[0].float())
    return off(found, Plain().attend(queries.float(), where, reference, rows.room))


def product_cases(device: str) -> Iterator[Case]:
    from core.inference.card.weights import TritonInt4, TritonInt8

    for dtype in HALF:
        for rows, outputs, inputs in ((1, 48, 64), (4, 100, 256), (1, 7, 1024), (2, 33, 96), (1, 16, 2048)):
            plain = random(outputs, inputs, seed=51, device=device)
            x = random(rows, inputs, seed=52, dtype=dtype, device=device)
            middle = to_int4(plain)
            middle = QuantisedWeight(middle.codes, middle.scales, None, None, 4)
            for name, make, weight in (
                ("int4", TritonInt4, to_int4(plain)),
                ("int4 middle", TritonInt4, middle),
                ("int4 between", TritonInt4, to_int4(rounded(plain).dequantised().bfloat16())),
                ("int8", TritonInt8, to_int8(plain)),
            ):

                def case(x: Tensor = x, make: Any = make, weight: QuantisedWeight = weight) -> float:
                    expected = multiply_dequantised(x.float(), weight)
                    kept = make(weight).weight()
                    assert torch.equal(kept.codes, weight.codes) and torch.equal(kept.scales, weight.scales)
                    return off(make(weight)(x), expected)

                yield f"{name} {dtype} {rows}x{outputs}x{inputs}", case


REPLYING = ("llama", "qwen2", "qwen3", "qwen_v1")


def decode_cases(device: str) -> Iterator[Case]:
    """Whole replies of tiny models by the kernels, against the lean pass: tokens that differ."""
    every = [(name, way) for way in ("", "guessed", "int4", "int8 rows") for name in REPLYING]
    some = [*every[::5], ("qwen_v1", "")]  # the interpreter takes seconds for each: no architecture and no way left out
    for name, way in some if IS_INTERPRETED else every:
        yield f"decode {name} {way}".strip(), lambda name=name, way=way: replied(name, way, device)


def replied(name: str, way: str, device: str) -> float:
    from core.inference.card.fused import Fused

    model: Any = tiny_qwen_v1.model() if name == "qwen_v1" else tiny_models.model(name)
    if way == "int4":
        at_load.quantise(model, "int4", torch.device("cpu"), torch.float32, lambda done, total: None)
    model = model.to(device)
    lean = DenseDecoder(model, 128, is_exact=True)
    card = CardDecoder(model, 128, is_exact=True, operations=Fused())
    if way == "guessed":
        card.drafted, card.extra_cost = 3, 0.0
    prompt = [20, 21, 22, 23, 20, 21, 24, 25, 30, 31] * 3  # past the trained length of the first generation
    expected = said(lean, prompt)
    if way == "int8 rows":
        keep(model, card, "int8")
        other = CardDecoder(model, 128, is_exact=True)
        keep(model, other, "int8")
        expected = said(other, prompt)
    if way == "int4":
        for layer in [layer for layer in model.modules() if isinstance(layer, QuantisedLinear)]:
            weight = layer.whole.weight_of()
            if (make := taken(weight)) is not None and layer.whole.backend == "dequantise":
                layer.whole.use(make, "backend_plain")
    return float(sum(a != b for a, b in zip(said(card, prompt), expected, strict=True)))


def said(decoder: Any, prompt: list[int]) -> list[int]:
    sampling = Sampling(temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0, max_new_tokens=7)
    steps = Engine(decoder, 128).generate(prompt, sampling)
    return [step.id for step in steps if isinstance(step, NewToken)]


CHECKS = {"norm": norm_cases, "gate": gate_cases, "rows": rows_cases, "product": product_cases, "decode": decode_cases}


def run(device: str = "cpu") -> dict[str, float | str]:
    """By check how far it is, 1 being what is allowed; or what was raised."""
    found: dict[str, float | str] = {}
    with torch.inference_mode():
        for cases in CHECKS.values():
            for name, case in cases(device):
                try:
                    found[name] = case()
                except Exception:
                    found[name] = traceback.format_exc(limit=-3, chain=False)[-600:]
    return found


if __name__ == "__main__":
    where = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    if where == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    torch.set_num_threads(1)
    print(json.dumps(run(where)))
