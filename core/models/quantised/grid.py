"""Weights that had 4 bits before, as those of a GGUF file: found again as they were, for nothing is lost twice.

Such a file has 16 values at most for 32 neighbouring columns, evenly spaced (Q4_0, Q4_1, and Q4_K by its inner groups).
Invariant: either every group of a layer lies on such a grid, up to the rounding of the stored precision, or none is
said to.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from core.models.quantised.weight import BLOCK_BYTES, QuantisedWeight, join_nibbles

GROUP = 32
SAMPLE = 256  # groups that are looked at first: most weights never had 4 bits
SPARED = 0.02  # of the groups of a layer may lie off their grid: they are rounded as others are
OFF = 0.2  # of a step, at most: bf16 may move the largest of 16 values that far; of 32 random ones none stays so near
FEWEST = 7  # steps that a group must span: with fewer anything would be a grid
LARGEST_ZERO, ZERO_PARTS = 31.0, 64  # a zero is kept in so many parts of a step, which fp16 holds exactly


def on_grid(weight: Tensor) -> QuantisedWeight | None:
    """(out, in), floating -> scale * (code - zero) with a zero between two codes; None where it had no 4 bits."""
    outputs, inputs = weight.shape
    if inputs % GROUP or not _seems_on_grid(weight):
        return None
    codes = torch.empty(outputs, inputs // 2, dtype=torch.uint8, device=weight.device)
    scales = torch.empty(outputs, inputs // GROUP, dtype=torch.bfloat16, device=weight.device)
    zeros = torch.empty(scales.shape, dtype=torch.float16, device=weight.device)
    spared = int(SPARED * scales.numel())
    for rows in blocks(weight):
        wide = weight[rows].float().view(-1, GROUP)
        step, zero, is_on = _steps(wide)
        spared -= int((~is_on).sum())
        if spared < 0:
            return None
        found = (wide / step[:, None]).add_(zero[:, None]).round_().clamp_(0, 15)
        codes[rows] = join_nibbles(found.to(torch.uint8).view(-1, inputs))
        scales[rows], zeros[rows] = step.view(-1, inputs // GROUP).bfloat16(), zero.view(-1, inputs // GROUP).half()
    return QuantisedWeight(codes, scales, zeros, None, 4)


def _seems_on_grid(weight: Tensor) -> bool:
    rows = -(-SAMPLE * GROUP // weight.shape[1])
    is_on = _steps(weight[:rows].float().view(-1, GROUP))[2]
    return float(is_on.float().mean()) >= 1 - 5 * SPARED


def _steps(groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n, GROUP) -> step and zero of each, and whether its values lie on them; else those of ordinary rounding."""
    low, high = torch.aminmax(groups, dim=1)
    step = (high.clamp(min=0) - low.clamp(max=0)) / 15
    zero, is_on = -low.clamp(max=0) / step, torch.zeros_like(low, dtype=torch.bool)
    for count in range(15, FEWEST - 1, -1):  # a group need not have both of its outermost values
        places = torch.nonzero(~is_on)[:, 0]
        if not len(places):
            break
        tried, least = (high[places] - low[places]) / count, low[places]
        at = (groups[places] - least[:, None]) / tried[:, None]
        begin = -least / tried
        begin += (-begin).ceil_().clamp_(0, 15 - count)  # spare codes below its smallest value
        fits = ((at - at.round()).abs_().amax(1) <= OFF) & (begin >= 0) & (begin <= LARGEST_ZERO)
        step[places], zero[places] = tried.where(fits, step[places]), begin.where(fits, zero[places])
        is_on[places] = fits
    flat = high == low  # one value, which is a step of its own
    step[flat], zero[flat], is_on[flat] = low[flat].abs() / 15, (low[flat] < 0) * 15.0, True
    step[step == 0] = 1
    step = step.bfloat16().float()
    return step, (zero * ZERO_PARTS).round_().div_(ZERO_PARTS), is_on


def blocks(weight: Tensor) -> Iterator[slice]:
    """Rows that are worked on at once: few enough for the processor's cache."""
    rows = max(BLOCK_BYTES // (4 * weight.shape[1]), 1)
    for start in range(0, weight.shape[0], rows):
        yield slice(start, min(start + rows, weight.shape[0]))
