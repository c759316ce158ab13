"""Few rows times weights of 8 bits with one scale an output: half the bytes of bf16, for heads above all."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

OUTPUTS, INPUTS = 16, 256  # of one program, and at once


@triton.jit
def _multiply(
    x, codes, scales, zeros, out, outputs, inputs,
    HAS_ZEROS: tl.constexpr, OUTPUTS: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    n = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    is_output = n < outputs
    total = tl.zeros((OUTPUTS,), tl.float32)
    sums = 0.0
    for begin in range(0, inputs, INPUTS):
        k = begin + tl.arange(0, INPUTS)
        is_input = k < inputs
        part = tl.load(x + row * inputs + k, mask=is_input, other=0.0).to(tl.float32)
        line = codes + n.to(tl.int64)[:, None] * inputs + k[None, :]
        code = tl.load(line, mask=is_output[:, None] & is_input[None, :], other=0).to(tl.float32)
        total += tl.sum(code * part[None, :], 1)
        sums += tl.sum(part, 0)
    zero = 128.0
    if HAS_ZEROS:
        zero = tl.load(zeros + n, mask=is_output, other=0).to(tl.float32)
    scale = tl.load(scales + n, mask=is_output, other=0.0).to(tl.float32)
    found = scale * (total - zero * sums)
    tl.store(out + row.to(tl.int64) * outputs + n, found.to(out.dtype.element_ty), mask=is_output)


def multiply(x: Tensor, codes: Tensor, scales: Tensor, zeros: Tensor | None) -> Tensor:
    """x: (rows, in), contiguous; codes: (out, in) uint8; scales, zeros: (out, 1) -> (rows, out)"""
    (rows, inputs), outputs = x.shape, codes.shape[0]
    out = torch.empty(rows, outputs, dtype=x.dtype, device=x.device)
    _multiply[(rows, triton.cdiv(outputs, OUTPUTS))](
        x, codes, scales, scales if zeros is None else zeros, out, outputs, inputs,
        HAS_ZEROS=zeros is not None, OUTPUTS=OUTPUTS, INPUTS=INPUTS, num_warps=4,
    )  # fmt: skip
    return out
