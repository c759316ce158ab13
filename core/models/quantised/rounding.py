"""Weights of 8 or 4 bits made from plain ones by rounding to the nearest, without calibration; see also grid.py.

Invariant: what comes out depends on the weight alone, and each group's scale is rounded before its codes are chosen, so
that no kernel has to round it again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from core.models.quantised.grid import blocks, on_grid
from core.models.quantised.weight import QuantisedWeight, join_nibbles

GROUPS = (64, 128, 32)  # columns that share a scale of 4 bits: the first that divides the width


def to_int8(weight: Tensor) -> QuantisedWeight:
    """(out, in), floating; one symmetric scale an output."""
    codes = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)
    scales = torch.empty(weight.shape[0], 1, dtype=torch.float32, device=weight.device)
    for rows in blocks(weight):
        wide = weight[rows].float()
        step = wide.abs().amax(1, keepdim=True).div_(127)
        step[step == 0] = 1
        scales[rows] = step
        codes[rows] = (wide / step).round_().clamp_(-127, 127).add_(128).to(torch.uint8)
    return QuantisedWeight(codes, scales, None, None, 8)


def to_int4(weight: Tensor) -> QuantisedWeight:
    """(out, in), floating, in even; exact where the weights had 4 bits before, else rounded to the nearest."""
    return on_grid(weight) or rounded(weight)


def rounded(weight: Tensor) -> QuantisedWeight:
    """A scale and a whole zero for each group, from its smallest and largest weight."""
    outputs, inputs = weight.shape
    size = group_of(inputs)
    codes = torch.empty(outputs, inputs // 2, dtype=torch.uint8, device=weight.device)
    scales = torch.empty(outputs, inputs // size, dtype=torch.bfloat16, device=weight.device)
    zeros = torch.empty(scales.shape, dtype=torch.uint8, device=weight.device)
    for rows in blocks(weight):
        wide = weight[rows].float().view(-1, inputs // size, size)
        low, high = torch.aminmax(wide, dim=2)
        low, high = low.clamp_(max=0), high.clamp_(min=0)
        step = ((high - low) / 15).bfloat16()
        step[step == 0] = 1
        scales[rows] = step
        zero = (-low / step.float()).round_().clamp_(0, 15)
        zeros[rows] = zero.to(torch.uint8)
        found = (wide / step.float()[..., None]).add_(zero[..., None]).round_().clamp_(0, 15)
        codes[rows] = join_nibbles(found.to(torch.uint8).view(-1, inputs))
    return QuantisedWeight(codes, scales, zeros, None, 4)


def group_of(inputs: int) -> int:
    """Columns that share a scale in a layer of that width; all of them where no group divides it."""
    return next((size for size in GROUPS if inputs % size == 0), inputs)
