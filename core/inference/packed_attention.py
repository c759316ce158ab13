"""Attention of one query over 8-bit codes on the processor, without making floating point rows of them first.

Two kernels of torch that were made for weights and for tables of embeddings read the codes themselves: the products of
queries with keys, and the weighted sums of values. Invariant: they are used only where a trial on this machine found
them right and faster than floating point rows.
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

STRIDE = 16  # widths of keys are a multiple of this
MARKS = 8  # bytes after the codes of a row of values: its step and its lowest value, fp32
LEVELS = 255
TRIAL = (2, 1024, 64)  # heads, tokens, width
ALLOWED = 0.02  # relative; a wrong layout gives 1

_product: Any = torch._weight_int8pack_mm  # by this name it takes less time to call than as an operator
_table: Any = torch.ops.quantized.embedding_bag_byte_rowwise_offsets.default
_prepack: Any = torch.ops.quantized.embedding_bag_byte_prepack.default


def products(rows: Tensor, codes: Tensor, steps: Tensor) -> Tensor:
    """rows: (heads, few, width) bf16, codes: (heads, tokens, width) int8, steps: (heads, tokens) bf16
    -> (heads, few, tokens) bf16"""
    parts = [_product(*one) for one in zip(rows.unbind(), codes.unbind(), steps.unbind(), strict=True)]
    return torch.cat(parts).view(rows.shape[0], rows.shape[1], -1)


def sums(weights: Tensor, table: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
    """weights: (heads, few, tokens) fp32; table: as `rows_of`, (heads, room, width + 8); places: Places.of.
    -> (heads * few, width) fp32"""
    found: Tensor = _table(table.flatten(0, 1), *places, False, 0, False, weights.view(-1), None, True)
    return found


class Places:
    """Where the rows of each head lie in a table, for the layers of a model that ask in turn."""

    def __init__(self) -> None:
        self._asked: tuple[int, int, int, int] = (0, 0, 0, 0)
        self._found = (torch.empty(0), torch.empty(0))

    def of(self, heads: int, few: int, room: int, tokens: int) -> tuple[Tensor, Tensor]:
        """The places of the first tokens of each head, once for each of its few rows, and where these lists begin."""
        asked = (heads, few, room, tokens)
        if asked != self._asked:
            begins = torch.arange(0, heads * room, room, dtype=torch.int32)[:, None, None]
            places = (begins + torch.arange(tokens, dtype=torch.int32)).expand(heads, few, tokens).reshape(-1)
            offsets = torch.arange(0, heads * few * tokens + 1, tokens, dtype=torch.int32)
            self._asked, self._found = asked, (places, offsets)
        return self._found


def rows_of(values: Tensor) -> Tensor:
    """(..., width) floating -> (..., width + 8) uint8: codes from 0 to 255, rounded, then step and lowest value."""
    if values.device.type == "cpu":
        packed: Tensor = _prepack(values.float().flatten(0, -2))
        return packed.view(*values.shape[:-1], -1)
    return rounded_rows(values)


def rounded_rows(values: Tensor) -> Tensor:
    """As rows_of, on any device."""
    wide = values.float()
    low, high = wide.aminmax(dim=-1, keepdim=True)
    codes = (wide - low).mul_(LEVELS / (high - low + 1e-8)).round_().to(torch.uint8)
    return with_marks(codes, (high - low) / LEVELS, low)


def with_marks(codes: Tensor, step: Tensor, low: Tensor) -> Tensor:
    """codes: (..., width) uint8; step, low: (..., 1) -> (..., width + 8) uint8"""
    return torch.cat((codes, torch.cat((step, low), -1).float().view(torch.uint8)), -1)


def floats_of(table: Tensor) -> Tensor:
    """(..., width + 8) uint8 -> (..., width) fp32"""
    step, low = marks_of(table)
    return (table[..., :-MARKS] * step).add_(low)


def marks_of(table: Tensor) -> tuple[Tensor, Tensor]:
    """The steps and lowest values of the rows, (..., 1) fp32."""
    step, low = table[..., -MARKS:].contiguous().view(torch.float32).chunk(2, -1)
    return step, low


@lru_cache(maxsize=1)
@torch.inference_mode()
def is_better() -> bool:
    """Both kernels are there, right and the faster way on this processor."""
    heads, tokens, width = TRIAL
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(heads, 2, width, generator=generator).bfloat16()
    codes = torch.randint(-127, 128, TRIAL, generator=generator, dtype=torch.int8)
    steps = (torch.rand(heads, tokens, generator=generator) * 2e-3).bfloat16()
    table = rows_of(torch.randn(TRIAL, generator=generator))
    places = Places().of(heads, 2, tokens, tokens)

    def packed() -> Tensor:
        return sums(products(queries, codes, steps).softmax(-1, dtype=torch.float32), table, places).view(heads, 2, -1)

    def reference() -> Tensor:
        keys = codes.float().mul_(steps[..., None])
        return (queries.float() @ keys.transpose(1, 2)).softmax(-1) @ floats_of(table)

    try:
        found = packed()
    except (RuntimeError, AttributeError) as error:  # this build of torch does not have them
        log.info("int8 rows are made floating point first: %s", error)
        return False
    expected = reference()
    off = float((found - expected).norm() / expected.norm())
    if not off < ALLOWED:
        log.warning("int8 rows are made floating point first: the kernels are off by %.3g", off)
        return False
    return _seconds(packed) < _seconds(reference)


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
