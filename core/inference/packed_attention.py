"""Products of a few bf16 rows with 8-bit codes on the processor: what one query over an int8 cache consists of.

torch has a kernel that reads the codes themselves, a quarter of what fp32 would be. Invariant: it is used only where a
trial on this machine found it right and faster than making floating point rows first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger("inference")

STRIDE = 16  # the kernel wants widths that are a multiple
TRIAL = (2, 1024, 64)  # heads, tokens, width
ALLOWED = 0.01  # relative; a wrong layout gives 1

_kernel: Any = torch._weight_int8pack_mm  # by this name it takes less time to call than as an operator


def multiply(rows: Tensor, codes: Tensor, scales: Tensor) -> Tensor:
    """rows: (heads, few, k) bf16, codes: (heads, n, k) int8, their scales: (heads, n) bf16 -> (heads, few, n)."""
    parts = [_kernel(*one) for one in zip(rows.unbind(), codes.unbind(), scales.unbind(), strict=True)]
    return torch.cat(parts).view(rows.shape[0], rows.shape[1], -1)


class Scratch:
    """Memory that all layers of a model use in turn."""

    def __init__(self) -> None:
        self._weights = torch.empty(0, 0, 0)
        self._filled = 0
        self._same: dict[float, Tensor] = {}

    def weights(self, heads: int, few: int, tokens: int, room: int) -> Tensor:
        """(heads, few, room) bf16, to be filled up to `tokens`; after that all zeros."""
        if self._weights.shape != (heads, few, room):
            self._weights = torch.zeros(heads, few, room, dtype=torch.bfloat16)
        elif self._filled > tokens:
            self._weights[:, :, tokens : self._filled] = 0
        self._filled = tokens
        return self._weights

    def same(self, heads: int, count: int, value: float) -> Tensor:
        """(heads, count) bf16, all of them `value`."""
        found = self._same.get(value)
        if found is None or found.shape[0] != heads or found.shape[1] < count:
            found = self._same[value] = torch.full((heads, count), value, dtype=torch.bfloat16)
        return found if found.shape[1] == count else found.narrow(1, 0, count)


@lru_cache(maxsize=1)
@torch.inference_mode()
def is_better() -> bool:
    """The kernel is there, right and the faster way on this processor."""
    heads, tokens, width = TRIAL
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(heads, 2, width, generator=generator).bfloat16()
    codes = torch.randint(-127, 128, TRIAL, generator=generator, dtype=torch.int8)
    scales = torch.rand(heads, tokens, generator=generator).bfloat16()

    def reference() -> Tensor:
        floats = codes.float().mul_(scales[..., None])
        return rows.float() @ floats.transpose(1, 2)

    try:
        found = multiply(rows, codes, scales)
    except (RuntimeError, AttributeError) as error:  # this build of torch does not have it
        log.info("int8 rows are made floating point first: %s", error)
        return False
    expected = reference()
    off = float((found.float() - expected).norm() / expected.norm())
    if not off < ALLOWED:
        log.warning("int8 rows are made floating point first: the kernel is off by %.3g", off)
        return False
    return _seconds(lambda: multiply(rows, codes, scales)) < _seconds(reference)


def _seconds(call: Callable[[], Tensor]) -> float:
    """The best of some, on one thread: on a busy machine two wait for each other."""
    threads, best = torch.get_num_threads(), float("inf")
    torch.set_num_threads(1)
    try:
        for _ in range(5):
            begin = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return best
