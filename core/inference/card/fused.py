"""The operations of a layer by the Triton kernels: a norm, a placement, an attention and a gate are a launch or two
each.

Invariant: it stands for `operations.Plain` one for one. What a kernel does not take (a norm in another precision, rows
that are not ours) goes the plain way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from core.inference.card.kernels import attention, gate, norm, placing
from core.inference.card.operations import Plain, Spot
from core.inference.card.rows import StaticInt8Rows, StaticPlainRows, StaticRows
from core.inference.norms import AnyNorm, Norm


class Fused:
    name = "fused kernels"
    reads_length = True

    def __init__(self) -> None:
        self._plain = Plain()

    def norm(self, x: Tensor, by: AnyNorm) -> Tensor:
        return norm.add_norm(x, None, by.weight, by.epsilon)[1] if isinstance(by, Norm) else by(x)

    def add_norm(self, x: Tensor, delta: Tensor, by: AnyNorm) -> tuple[Tensor, Tensor]:
        if not isinstance(by, Norm) or delta.dtype != x.dtype:
            return self._plain.add_norm(x, delta, by)
        return norm.add_norm(x, delta.contiguous(), by.weight, by.epsilon)

    def place(self, qkv: Tensor, heads: int, head_norm: AnyNorm | None, spot: Spot, rows: StaticRows) -> Tensor:
        if head_norm is not None and not isinstance(head_norm, Norm):
            return self._plain.place(qkv, heads, head_norm, spot, rows)
        gain = None if head_norm is None else (head_norm.weight.contiguous(), head_norm.epsilon)
        buffers, inverse = _buffers(rows), None
        if isinstance(rows, StaticInt8Rows):
            inverse = rows.sizes.inverse(qkv.dtype)
        return placing.place(
            qkv.contiguous(), heads, gain, spot.cos, spot.sin, spot.query_scale, spot.places, buffers, inverse
        )

    def attend(self, queries: Tensor, spot: Spot, rows: StaticRows, bucket: int) -> Tensor:
        sizes = None
        if isinstance(rows, StaticInt8Rows):
            sizes = rows.sizes.times(1.0, torch.float32)
        return attention.attend(queries, spot.places, _buffers(rows), sizes, queries.shape[-1] ** -0.5)

    def gate(self, gate_up: Tensor) -> Tensor:
        return gate.gate(gate_up.contiguous())


def _buffers(rows: StaticRows) -> tuple[Tensor, ...]:
    if isinstance(rows, StaticInt8Rows):
        return rows.buffers
    assert isinstance(rows, StaticPlainRows)
    keys, values = rows.buffers
    return keys[0], values[0]
