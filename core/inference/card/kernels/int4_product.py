"""Few rows times weights of 4 bits in groups, dequantised in registers, the inputs split over programs where outputs
are few. Invariant: the weight's layout is the one it is kept in (weight.py), but for scales and zeros, which are
turned."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

OUTPUTS = 16  # of one program
COLUMNS = 512  # at once
PROGRAMS = 528  # four for each multiprocessor of a large card


@triton.jit
def _multiply(
    x, codes, scales, zeros, out, rows, outputs, inputs, groups,
    HAS_ZEROS: tl.constexpr, GROUP: tl.constexpr, AT_ONCE: tl.constexpr, OUTPUTS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    row, split = tl.program_id(0), tl.program_id(2)
    n = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    some, half, side = tl.arange(0, AT_ONCE), tl.arange(0, GROUP // 2), tl.arange(0, 2)
    is_output = n < outputs
    line = codes + n.to(tl.int64)[:, None, None] * (inputs // 2) + half[None, None, :]
    each = tl.cdiv(tl.cdiv(groups, AT_ONCE), SPLITS) * AT_ONCE
    last = tl.minimum(split * each + each, groups)
    total = tl.zeros((OUTPUTS,), tl.float32)
    for first in range(split * each, last, AT_ONCE):
        group = first + some
        is_there = group < last
        mask = is_output[:, None] & is_there[None, :]
        both = tl.load(line + group[None, :, None] * (GROUP // 2), mask=mask[:, :, None], other=0)
        place = group[:, None, None] * GROUP + 2 * half[None, :, None] + side[None, None, :]
        even, odd = tl.split(tl.load(x + row * inputs + place, mask=is_there[:, None, None], other=0.0).to(tl.float32))
        high, low = (both >> 4).to(tl.float32), (both & 15).to(tl.float32)
        products = tl.sum(high * even[None, :, :] + low * odd[None, :, :], 2)
        mark = group[None, :] * outputs + n[:, None]
        zero = 8.0
        if HAS_ZEROS:
            zero = tl.load(zeros + mark, mask=mask, other=0).to(tl.float32)
        scale = tl.load(scales + mark, mask=mask, other=0.0).to(tl.float32)
        total += tl.sum(scale * (products - zero * tl.sum(even + odd, 1)[None, :]), 1)
    into = (split * rows + row).to(tl.int64) * outputs + n
    tl.store(out + into, total.to(out.dtype.element_ty), mask=is_output)


def multiply(x: Tensor, codes: Tensor, scales: Tensor, zeros: Tensor | None) -> Tensor:
    """x: (rows, in), contiguous; codes: (out, in / 2) as QuantisedWeight; scales, zeros: (groups, out) -> (rows,
    out)"""
    (rows, inputs), outputs, groups = x.shape, codes.shape[0], scales.shape[0]
    blocks = triton.cdiv(outputs, OUTPUTS)
    splits = splits_for(rows * blocks, groups)
    out = torch.empty(splits, rows, outputs, dtype=x.dtype if splits == 1 else torch.float32, device=x.device)
    _multiply[(rows, blocks, splits)](
        x, codes, scales, scales if zeros is None else zeros, out, rows, outputs, inputs, groups,
        HAS_ZEROS=zeros is not None, GROUP=inputs // groups, AT_ONCE=max(1, COLUMNS * groups // inputs),
        OUTPUTS=OUTPUTS, SPLITS=splits, num_warps=4,
    )  # fmt: skip
    return out[0] if splits == 1 else out.sum(0).to(x.dtype)


def splits_for(programs: int, groups: int) -> int:
    """Until there are enough programs, each with eight groups at least."""
    splits = 1
    while splits * programs < PROGRAMS and splits * 16 <= groups:
        splits *= 2
    return splits
