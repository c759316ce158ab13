"""Every GPU row of the engine: `python -m benchmarks.card` on a machine with an NVIDIA card prints one JSON object.

The kernels are first held to their references on the card, then the card's own copy bandwidth and matrix rate are
measured, then models of the README's shapes are made with random weights on the card (speed does not depend on what the
weights are; prompts are random ids) and measured: decoding from context 1, against transformers' generate, with keys
and values in 8 bits, reading, memory, loading. A share is of the bytes that a step has to read, as they lie in memory,
at the measured bandwidth. What there is no time for is named in "left_out"; --out keeps what is done so far. Guesses
from the text are off but for their own row.

`--quick` takes one repetition and leaves replies of 8192 tokens out; `--shape tiny --device cpu` runs all that needs no
card, so that a test can. Replies are timed by the host's clock, so everything a reply costs is in it.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
import transformers

from core.chat.turns import Sampling
from core.inference.card.accounting import Shape, weight_bytes
from core.inference.card.decoder import CardDecoder
from core.inference.choice import choose
from core.inference.engine import Ended, Engine, NewToken
from core.inference.kv_choice import keep as keep_as
from core.load_options import KVChoice
from core.models.quantised.choice import pack
from core.models.quantised.linear import Int4Linear
from core.models.quantised.weight import QuantisedWeight
from core.models.qwen_v1.configuration import QWenConfig
from core.models.qwen_v1.modeling import QWenLMHeadModel
from tests.helpers import tiny_qwen_v1

GROUP = 128
ROOT = Path(__file__).parent.parent
# hidden, layers, heads, both halves of the gate, vocabulary; as the README of the first generation has them
SHAPES = {
    "tiny": (64, 2, 4, 256, 512),
    "0.6b": (1024, 28, 8, 6144, 151936),
    "7b": (4096, 32, 32, 22016, 151936),
    "14b": (5120, 40, 40, 27392, 152064),
}
README_GIB = {  # by shape and weights, peak of generating 8192 tokens on an A100, as published
    ("7b", "bf16"): 22.58, ("7b", "int4"): 13.62, ("14b", "bf16"): 38.94, ("14b", "int4"): 21.79,
}  # fmt: skip
ROWS = ("kernels", "sweep", "load", "decode", "transformers", "int8_kv", "prefill", "guesses", "memory", "compiled")


@dataclass
class Run:
    device: torch.device
    shape: str
    weights: str
    is_quick: bool
    deadline: float
    left_out: list[str] = field(default_factory=list)

    @property
    def is_card(self) -> bool:
        return self.device.type == "cuda"

    @property
    def short(self) -> int:
        """Tokens of a short reply."""
        return 16 if self.shape == "tiny" else 128 if not self.is_quick else 48

    @property
    def long(self) -> int:
        """Of the README's first length."""
        return 32 if self.shape == "tiny" else 2048

    @property
    def longest(self) -> int:
        return 64 if self.shape == "tiny" else 8192

    @property
    def context(self) -> int:
        return 128 if self.shape == "tiny" else 8448


def main() -> None:
    options = arguments()
    run = Run(torch.device(options.device), "", "", options.quick, time.monotonic() + options.minutes * 60)
    report: dict[str, Any] = {"machine": machine(run), "rows": {}, "left_out": run.left_out}

    def keep(name: str, row: Callable[[], Any]) -> None:
        """A row that fails says so and costs no other."""
        if time.monotonic() > run.deadline:
            run.left_out.append(name)
            return
        begin = time.monotonic()
        try:
            found = row()
        except Exception as error:
            found = {"failed": f"{type(error).__name__}: {error}"[:500]}
        report["rows"][name] = found
        print(f"{name}: {time.monotonic() - begin:.1f} s", file=sys.stderr)
        if options.out:
            options.out.write_text(json.dumps(report, indent=1))

    wanted = [row for row in ROWS if row in options.rows]
    if "kernels" in wanted:
        keep("kernels", lambda: kernels(run))
    report["probe"] = probe(run)
    if "sweep" in wanted:
        keep("sweep", lambda: sweep(run))
    for shape in options.shape:
        for weights in options.weights:
            run.shape, run.weights = shape, weights
            keep(f"{shape} {weights}", lambda: model_rows(run, wanted, report, keep))
            free(run)
    print(json.dumps(report, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", nargs="+", default=["7b", "14b"], choices=SHAPES)
    parser.add_argument("--weights", nargs="+", default=["bf16", "int4"], choices=["bf16", "int4"])
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=60, help="after so many no further row is begun")
    parser.add_argument("--out", type=Path, help="a file that has what is done so far")
    return parser.parse_args()


def machine(run: Run) -> dict[str, Any]:
    found = {
        "date": time.strftime("%Y-%m-%d"), "python": platform.python_version(), "torch": torch.__version__,
        "transformers": transformers.__version__,
    }  # fmt: skip
    if importlib.util.find_spec("triton"):
        from importlib.metadata import version

        found["triton"] = version("triton")
    if run.is_card:
        asked = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
        found["card"] = torch.cuda.get_device_name(run.device)
        found["driver"] = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    return found


# --- the card itself ------------------------------------------------------------------


def kernels(run: Run) -> dict[str, Any]:
    """The largest difference of every check as a share of what is allowed; those that fail, in full."""
    if importlib.util.find_spec("triton") is None:
        return {"skipped": "Triton is not installed"}
    if not run.is_card:
        return {"skipped": "on the processor they run in Triton's interpreter: tests/core/inference/card"}
    from tests.core.inference.card import kernel_checks

    found = kernel_checks.run("cuda")
    failed = {name: value for name, value in found.items() if isinstance(value, str) or not value < 1}
    worst = max((value for value in found.values() if isinstance(value, float)), default=0.0)
    return {"checks": len(found), "worst": worst, "failed": failed}


def probe(run: Run) -> dict[str, float]:
    """What this device really does: bytes a second of a copy, read and written; operations a second of a product."""
    size, side = (1 << 30, 8192) if run.is_card else (1 << 24, 256)
    source = torch.zeros(size, dtype=torch.uint8, device=run.device)
    into = torch.empty_like(source)
    copying = seconds(lambda: into.copy_(source), run)
    left = torch.randn(side, side, device=run.device, dtype=torch.bfloat16)
    multiplying = seconds(lambda: left @ left, run)
    return {"bandwidth": 2 * size / copying, "flops": 2 * side**3 / multiplying}


def seconds(call: Callable[[], object], run: Run, repeats: int = 10) -> float:
    """The median of some."""
    call()
    found = []
    for _ in range(repeats):
        wait(run)
        begin = time.perf_counter()
        call()
        wait(run)
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def wait(run: Run) -> None:
    if run.is_card:
        torch.cuda.synchronize()


def free(run: Run) -> None:
    gc.collect()
    if run.is_card:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def sweep(run: Run) -> dict[str, Any]:
    """The 4-bit product in other tilings, at the widths of the 7B model: whoever finds a better one writes it down."""
    if not run.is_card or importlib.util.find_spec("triton") is None:
        return {"skipped": "needs a card and Triton"}
    from core.inference.card.kernels import int4_product

    kept = int4_product.OUTPUTS, int4_product.COLUMNS
    found: dict[str, Any] = {}
    try:
        for outputs, inputs in ((12288, 4096), (22016, 4096), (4096, 11008)):
            weight = random_weight(outputs, inputs, run.device)
            scales = weight.scales.T.contiguous()
            x = torch.randn(1, inputs, device=run.device, dtype=torch.bfloat16)
            for tile in ((16, 512), (8, 512), (8, 1024), (16, 256), (16, 1024), (32, 256)):
                int4_product.OUTPUTS, int4_product.COLUMNS = tile
                taken = graph_seconds(partial(int4_product.multiply, x, weight.codes, scales, None))
                found[f"{outputs}x{inputs} {tile[0]}x{tile[1]}"] = weight.size_bytes / taken
    finally:
        int4_product.OUTPUTS, int4_product.COLUMNS = kept
    return found


def graph_seconds(call: Callable[[], object], count: int = 50) -> float:
    """Of one call among many that are launched as one graph."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(count):
            call()
    graph.replay()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    graph.replay()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / count


# --- models -----------------------------------------------------------------------------


def random_weight(outputs: int, inputs: int, device: torch.device) -> QuantisedWeight:
    """As GPTQ has them: groups of 128, the zero in the middle."""
    group = GROUP if inputs % GROUP == 0 else 64
    codes = torch.randint(0, 256, (outputs, inputs // 2), dtype=torch.uint8, device=device)
    scales = torch.full((outputs, inputs // group), 0.02 / 4.6, dtype=torch.bfloat16, device=device)
    return QuantisedWeight(codes, scales, None, None, 4)


def made(run: Run) -> Any:
    """A model of the first generation on the device; of 4 bits all but the head, as Qwen published them."""
    hidden, layers, heads, ffn, vocabulary = SHAPES[run.shape]
    config = QWenConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        kv_channels=hidden // heads, intermediate_size=ffn, seq_length=8192, max_position_embeddings=8448,
        use_dynamic_ntk=True, use_logn_attn=True,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device("meta"):
        model = QWenLMHeadModel(config).to(torch.bfloat16)
    if run.weights == "int4":
        for name, layer in list(model.transformer.h.named_modules()):
            if type(layer) is torch.nn.Linear:
                bias = None if layer.bias is None else torch.zeros(layer.out_features, device=run.device).bfloat16()
                packed = Int4Linear(random_weight(layer.out_features, layer.in_features, run.device), bias)
                parent, _, leaf = name.rpartition(".")
                setattr(model.transformer.h.get_submodule(parent), leaf, packed)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            new = torch.empty(parameter.shape, dtype=torch.bfloat16, device=run.device)
            new = new.fill_(1) if parameter.dim() == 1 and name == "weight" else new.normal_(0, 0.02)
            setattr(module, name, torch.nn.Parameter(new, requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                raise RuntimeError(f"a buffer {name} would have to be made")
    return model.eval()


def model_rows(run: Run, wanted: list[str], report: dict[str, Any], keep: Callable[..., None]) -> dict[str, Any]:
    name = f"{run.shape} {run.weights}"
    free(run)
    model = made(run)
    if "load" in wanted and run.weights == "bf16" and run.shape in ("tiny", "7b"):
        keep(f"{name} load", lambda: load(run, model))
    shape = Shape.of(model.config)
    decoder = chosen(run, model)
    cost = unguessed(decoder)
    facts = {
        "decoder": type(decoder).__name__,
        "operations": decoder.operations.name if isinstance(decoder, CardDecoder) else "",
        "products": getattr(model.transformer.h[0].attn.c_attn, "backend", "plain"),
        "weight_bytes": weight_bytes(model), "formula_bytes": shape.weight_bytes(run.weights, GROUP),
        "extra_cost_of_guesses": cost, "fused_launches": shape.fused_launches(),
    }  # fmt: skip
    bandwidth, flops = report["probe"]["bandwidth"], report["probe"]["flops"]
    rows: dict[str, Callable[[], Any]] = {
        "decode": lambda: decode(run, model, decoder, shape, bandwidth),
        "transformers": lambda: by_transformers(run, model, decoder),
        "int8_kv": lambda: int8_kv(run, model, shape),
        "prefill": lambda: prefill(run, decoder, shape, flops),
        "guesses": lambda: guesses(run, decoder, cost),
        "memory": lambda: memory(run, model, decoder),
        "compiled": lambda: by_transformers(run, model, decoder, is_compiled=True),
    }
    for row, call in rows.items():
        if row in wanted:
            keep(f"{name} {row}", call)
    return facts


def chosen(run: Run, model: Any, kv_cache: KVChoice = "auto") -> Any:
    """The decoder that the program would take; on the processor that of cards, its steps not captured."""
    if run.is_card:
        return choose(model, run.context, is_exact=False, kv_cache=kv_cache)
    decoder = CardDecoder(model, run.context, is_exact=False)
    pack(model, torch.bfloat16)
    keep_as(model, decoder, kv_cache)
    return decoder


def unguessed(decoder: Any) -> float:
    """Have the decoder guess nothing; what guesses cost it."""
    if not isinstance(decoder, CardDecoder):  # the log says why there are no captured steps
        decoder.can_verify = lambda cache: False
        return 0.0
    cost, decoder.extra_cost = decoder.extra_cost, float("inf")
    return cost if cost < float("inf") else 0.0


def sampling(count: int) -> Sampling:
    return Sampling(temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0, max_new_tokens=count)


def prompt(tokens: int, vocabulary: int, seed: int = 0) -> list[int]:
    ids: list[int] = torch.randint(vocabulary, (tokens,), generator=torch.Generator().manual_seed(seed)).tolist()
    return ids


SAMPLED = Sampling(temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05, seed=1)


def reply(
    run: Run, decoder: Any, ids: list[int], count: int, how: Sampling | None = None
) -> tuple[list[int], list[float], int]:
    """Its tokens, when each came, and over how many passes."""
    engine = Engine(decoder, run.context, keep_bytes=0)
    said, times, passes = [], [], 0
    asked = sampling(count) if how is None else msgspec.structs.replace(how, max_new_tokens=count)
    for step in engine.generate(ids, asked):
        if isinstance(step, NewToken):
            said.append(step.id)
            times.append(time.perf_counter())
        elif isinstance(step, Ended):
            passes = step.passes
    return said, times, passes


def speed(times: list[float]) -> float:
    """Tokens a second after the first."""
    return (len(times) - 1) / (times[-1] - times[0])


def decode(run: Run, model: Any, decoder: Any, shape: Shape, bandwidth: float) -> dict[str, Any]:
    """Generating from context 1, as the README did; the first reply, which captures, apart."""
    first = reply(run, decoder, [7], run.short)
    cost = weight_bytes(model)
    found: dict[str, Any] = {"first_reply": speed(first[1])}
    lengths = [run.long] if run.is_quick else [run.long, run.longest]
    for length in lengths:
        repeats = 1 if run.is_quick or length == run.longest else 3
        times = [reply(run, decoder, [7 + repeat], length)[1] for repeat in range(repeats)]
        each = sorted(b - a for a, b in zip(times[0], times[0][1:], strict=False))
        rate = statistics.median(speed(some) for some in times)
        limit = bandwidth / (cost + length / 2 * shape.cache_bytes())
        found[f"generate_{length}"] = {
            "tokens_per_s": rate, "limit": limit, "share": rate / limit,
            "p50_ms": 1e3 * each[len(each) // 2], "p99_ms": 1e3 * each[int(len(each) * 0.99)],
        }  # fmt: skip
    found["sampled"] = speed(reply(run, decoder, [7], run.short, SAMPLED)[1])
    if run.is_card and isinstance(decoder, CardDecoder):
        found["kernels"] = kernel_times(run, decoder)
    return found


def kernel_times(run: Run, decoder: Any) -> dict[str, Any]:
    """Where a token's time goes, of a short reply: by kernel how many a token and microseconds a token."""
    from torch.profiler import ProfilerActivity, profile

    reply(run, decoder, [7], 8)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        said = len(reply(run, decoder, [7], run.short)[0])
    events: list[Any] = [event for event in seen.key_averages() if event.self_device_time_total > 0]
    events.sort(key=lambda event: -event.self_device_time_total)
    return {
        "launches_a_token": sum(event.count for event in events) / said,
        "busy_us_a_token": sum(event.self_device_time_total for event in events) / said,
        "by_kernel": [
            [event.key[:80], event.count / said, event.self_device_time_total / said] for event in events[:16]
        ],
    }


def by_transformers(run: Run, model: Any, decoder: Any, *, is_compiled: bool = False) -> dict[str, Any]:
    """transformers' generate on the same model in memory, and ours, in turn."""
    if is_compiled and not run.is_card:
        return {"skipped": "transformers compiles only on a card"}
    options: dict[str, Any] = {"max_new_tokens": run.short, "min_new_tokens": run.short, "do_sample": False}
    if is_compiled:
        options["cache_implementation"] = "static"
    ids = torch.tensor([prompt(16, model.config.vocab_size)], device=run.device)
    mask = torch.ones_like(ids)

    def theirs(count: int) -> float:
        wait(run)
        begin = time.perf_counter()
        model.generate(ids, attention_mask=mask, pad_token_id=0, **(options | {"max_new_tokens": count,
                       "min_new_tokens": count}))  # fmt: skip
        wait(run)
        return time.perf_counter() - begin

    begin = time.perf_counter()
    theirs(run.short)
    warm_up = time.perf_counter() - begin
    rates = []
    for _ in range(1 if run.is_quick else 3):
        whole, one = theirs(run.short), theirs(2)
        mine = speed(reply(run, decoder, ids[0].tolist(), run.short)[1])
        rates.append(((run.short - 2) / (whole - one), mine))
    theirs_s, mine_s = (statistics.median(side) for side in zip(*rates, strict=True))
    return {"tokens_per_s": theirs_s, "ours": mine_s, "ratio": mine_s / theirs_s, "first_call_s": warm_up}


def int8_kv(run: Run, model: Any, shape: Shape) -> dict[str, Any]:
    """After almost 8192 tokens: speed and bytes with plain rows and with 8 bits, in turn."""
    found: dict[str, Any] = {}
    ids = prompt(run.longest - run.short, model.config.vocab_size)
    kinds: tuple[KVChoice, KVChoice] = ("plain", "int8")
    for kind in kinds:
        decoder = chosen(run, model, kind)
        unguessed(decoder)
        engine = Engine(decoder, run.context)
        rates = []
        for repeat in range(2 if run.is_quick else 4):
            times = []
            for step in engine.generate([*ids, repeat], sampling(run.short // 2)):
                if isinstance(step, NewToken):
                    times.append(time.perf_counter())
            rates.append(speed(times))
        kept = engine._sequences._idle[-1].cache
        found[kind] = {"tokens_per_s": statistics.median(rates[1:]), "bytes": kept.size_bytes}
        del engine, decoder, kept
        free(run)
    found["speed_ratio"] = found["int8"]["tokens_per_s"] / found["plain"]["tokens_per_s"]
    found["bytes_ratio"] = found["int8"]["bytes"] / found["plain"]["bytes"]
    found["formula_ratio"] = shape.cache_bytes("int8") / shape.cache_bytes()
    return found


def prefill(run: Run, decoder: Any, shape: Shape, flops: float) -> dict[str, Any]:
    """Reading a prompt until its last token's logits are there."""
    found: dict[str, Any] = {}
    for tokens in (run.long // 8, run.long):
        ids = prompt(tokens, shape.vocabulary)

        def once(ids: list[int] = ids) -> None:
            cache = decoder.new_cache(len(ids))
            for _ in decoder.read(ids, cache):
                pass

        taken = seconds(once, run, 3 if run.is_quick else 7)
        rate = shape.read_flops(tokens) / taken
        found[str(tokens)] = {"seconds": taken, "tokens_per_s": tokens / taken, "share": rate / flops}
    return found


def guesses(run: Run, decoder: Any, cost: float) -> dict[str, Any]:
    """A reply that repeats: random weights do, sooner or later, so this says what guessing can gain, not what it
    does."""
    if not isinstance(decoder, CardDecoder):
        return {"skipped": "no captured steps here"}
    ids, count = prompt(8, 500) * 8, run.long
    plain = reply(run, decoder, ids, count)
    decoder.extra_cost = cost
    try:
        guessed = reply(run, decoder, ids, count)
    finally:
        decoder.extra_cost = float("inf")
    same = next((at for at, (a, b) in enumerate(zip(plain[0], guessed[0], strict=False)) if a != b), count)
    return {
        "extra_cost": cost, "tokens_a_pass": (count - 1) / max(guessed[2], 1), "same_tokens": same,
        "ratio": speed(guessed[1]) / speed(plain[1]),
    }  # fmt: skip


def memory(run: Run, model: Any, decoder: Any) -> dict[str, Any]:
    """The peak of generating up to 8192 tokens, beside what the README's table has; reading most of them as a
    prompt."""
    free(run)
    ids = prompt(run.longest - run.short, model.config.vocab_size)
    reply(run, decoder, ids, run.short)
    if not run.is_card:
        return {"skipped": "no card"}
    peak = torch.cuda.max_memory_allocated() / 2**30
    published = README_GIB.get((run.shape, run.weights))
    return {
        "allocated_gib": peak, "reserved_gib": torch.cuda.max_memory_reserved() / 2**30, "readme_gib": published,
        "ratio": peak / published if published else None,
    }  # fmt: skip


def load(run: Run, model: Any) -> dict[str, Any]:
    """From files in the page cache to the first token, by a process of its own: libraries apart."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        model.save_pretrained(folder)
        tiny_qwen_v1.write_tokenizer(Path(folder))
        bytes_ = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
        command = [sys.executable, "-c", LOADING, folder, str(run.context)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        return {"failed": done.stderr[-500:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"bytes": bytes_, "must_s": bytes_ / 5e9 + 4}


LOADING = """
import json, sys, time
from pathlib import Path
import torch
from core.inference.choice import choose
from core.inference.engine import Engine, NewToken
from core.chat.turns import Sampling
from core.load_options import LoadOptions
from core.models.load import load
import transformers.models.auto.modeling_auto
if torch.cuda.is_available():
    torch.zeros(1, device="cuda")
begin = time.perf_counter()
loaded = load(Path(sys.argv[1]), LoadOptions(context_length=int(sys.argv[2])))
at_loaded = time.perf_counter()
decoder = choose(loaded.model, loaded.context_length, is_exact=loaded.placement.is_exact)
at_chosen = time.perf_counter()
engine = Engine(decoder, loaded.context_length)
times = [time.perf_counter() for step in engine.generate([1, 2, 3], Sampling(temperature=0.0, repetition_penalty=1.0,
         max_new_tokens=3)) if isinstance(step, NewToken)]
print(json.dumps({"weights_s": at_loaded - begin, "checked_s": at_chosen - at_loaded, "first_token_s": times[0] - begin,
                  "third_token_s": times[-1] - begin}))
"""


if __name__ == "__main__":
    main()
