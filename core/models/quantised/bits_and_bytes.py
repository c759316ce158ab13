"""NF4, and on cards LLM.int8, by bitsandbytes: whether it works here, and what transformers has to be told.

Invariant: it is imported here first, where it is kept from fetching programs from a hub and running them.
"""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from typing import Any, Literal

import torch

from core.errors import UserError

log = logging.getLogger("quantised")
# One says once a product that bf16 is turned into fp16, the other that it could not fetch a program (see _library).
for name in ("bitsandbytes.autograd._functions", "bitsandbytes.backends.cpu.ops"):
    logging.getLogger(name).setLevel(logging.ERROR)


def settings(kind: Literal["nf4", "int8"], dtype: torch.dtype, device: torch.device) -> Any:
    """For from_pretrained's quantization_config.

    Raises:
        UserError: nf4_unavailable, when it does not work on this device.
    """
    import transformers

    if reason := obstacle(kind, device.type):
        raise UserError("nf4_unavailable", reason=reason)
    make: Any = transformers.BitsAndBytesConfig
    if kind == "int8":
        return make(load_in_8bit=True)
    return make(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


@lru_cache(maxsize=4)
def obstacle(kind: Literal["nf4", "int8"], device: str) -> str:
    """Why it cannot be used, "" where a tiny product came out right."""
    try:
        error = _try(kind, torch.device(device))
    except Exception as problem:  # a package built for another machine fails in many ways
        log.info("bitsandbytes cannot be used: %s", problem)
        return f"{type(problem).__name__}: {problem}"[:120]
    return "" if error < 0.2 else f"its products are off by {error:.0%}"


def _library() -> Any:
    """bitsandbytes. On processors with bf16 its import takes the package `kernels`, where there is one, to download a
    faster program, so that package is hidden meanwhile."""
    hidden: dict[str, Any] = sys.modules  # None stands for a module that cannot be had
    before = hidden.pop("kernels", None)
    hidden["kernels"] = None
    try:
        import bitsandbytes
    finally:
        del hidden["kernels"]
        if before is not None:
            hidden["kernels"] = before
    return bitsandbytes


def _try(kind: str, device: torch.device) -> float:
    layers = _library().nn
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
