"""NF4, and on cards LLM.int8, by bitsandbytes: whether it works here, and what transformers has to be told.

Invariant: no import of it may fetch programs from a hub and run them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, Literal

import torch

from core.errors import UserError

BLOCK, ROWS = 64, 32  # of a 4 bit weight: inputs that share a scale, outputs that are packed together

log = logging.getLogger("quantised")
# One says once a product that bf16 is turned into fp16, the other that it could fetch nothing.
for name in ("bitsandbytes.autograd._functions", "bitsandbytes.backends.cpu.ops"):
    logging.getLogger(name).setLevel(logging.ERROR)


def settings(kind: Literal["nf4", "int8"], dtype: torch.dtype, device: torch.device, plain: Sequence[str] = ()) -> Any:
    """For from_pretrained's quantization_config.

    plain: layers that are left as they are, all of them; () for those that transformers leaves

    Raises:
        UserError: nf4_unavailable, when it does not work on this device.
    """
    import transformers

    if reason := obstacle(kind, device.type):
        raise UserError("nf4_unavailable", reason=reason)
    make: Any = transformers.BitsAndBytesConfig
    if kind == "int8":
        return make(load_in_8bit=True)
    skipped = list(plain) or None
    return make(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=skipped
    )


def misfits(model: Any) -> list[str]:
    """Linear layers that its 4 bit product on newer processors cannot take: it fails in the midst of a reply. `model`
    may be empty."""
    layers = ((name, layer) for name, layer in model.named_modules() if type(layer) is torch.nn.Linear)
    return [name for name, layer in layers if layer.in_features % BLOCK or layer.out_features % ROWS]


def left_plain(model: Any) -> list[str]:
    """What transformers leaves as it is unless it is told otherwise: the head."""
    from transformers.quantizers.base import get_keys_to_not_convert

    return [str(name) for name in get_keys_to_not_convert(model)]


def keep_differentiable(model: Any) -> None:
    """Its layers stay in training mode, whatever the model is put into: on newer processors they would pack their
    weights in their first pass in the other one, for a product that has no gradient."""
    for layer in model.modules():
        if type(layer).__name__ == "Linear4bit":
            layer.training = True
            layer.train = partial(_unchanged, layer)


def _unchanged(layer: Any, mode: bool = True) -> Any:
    return layer


@lru_cache(maxsize=4)
def obstacle(kind: Literal["nf4", "int8"], device: str) -> str:
    """Why it cannot be used, "" where a tiny product came out right."""
    try:
        error = _try(kind, torch.device(device))
    except Exception as problem:  # a package built for another machine fails in many ways
        log.info("bitsandbytes cannot be used: %s", problem)
        return f"{type(problem).__name__}: {problem}"[:120]
    return "" if error < 0.2 else f"its products are off by {error:.0%}"


@contextmanager
def fetching_nothing() -> Iterator[None]:
    """For its import, or that of a library which imports it. On processors with bf16 it would take the package
    `kernels`, where there is one, to download a faster program, so that package is hidden meanwhile."""
    hidden: dict[str, Any] = sys.modules  # None stands for a module that cannot be had
    before = hidden.pop("kernels", None)
    hidden["kernels"] = None
    try:
        yield
    finally:
        del hidden["kernels"]
        if before is not None:
            hidden["kernels"] = before


def _try(kind: str, device: torch.device) -> float:
    with fetching_nothing():
        import bitsandbytes
    layers: Any = bitsandbytes.nn
    plain = torch.nn.Linear(64, 64, bias=False, dtype=torch.float16)
    if kind == "nf4":
        layer = layers.Linear4bit(64, 64, bias=False, quant_type="nf4", compute_dtype=torch.float16)
    else:
        layer = layers.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False)
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(3, 64, dtype=torch.float16, device=device)
    with torch.inference_mode():
        expected, found = plain.to(device)(x), layer.to(device)(x)
    return float((found - expected).norm() / expected.norm())
