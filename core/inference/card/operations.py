"""What a layer does between its products: norms, positions, writing and seeing rows, the gate.

Invariant: `Plain` computes what the lean pass computes, with the same roundings but for attention, whose kernel sees
the whole bucket and masks what is not there; it is what `fused.Fused` is held to, and stands in for it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from core.inference.card.rows import StaticRows
from core.inference.norms import AnyNorm
from core.inference.positions import rotated


class Spot(NamedTuple):
    """Where the tokens of a step are, all on the device. places: (new,) int64; cos, sin: (new, 1, width); query_scale:
    (new, 1, 1) or None; seen: (new, bucket), which rows each token sees, None where the kernel reads `places`."""

    places: Tensor
    cos: Tensor
    sin: Tensor
    query_scale: Tensor | None
    seen: Tensor | None


class Operations(Protocol):
    """reads_length: attention stops where the rows do, so one step serves whatever the length; otherwise it is asked
    for a bucket. launches: kernels of one layer beside its products, None where nobody knows."""

    @property
    def name(self) -> str: ...

    @property
    def reads_length(self) -> bool: ...

    def norm(self, x: Tensor, norm: AnyNorm) -> Tensor: ...

    def add_norm(self, x: Tensor, delta: Tensor, norm: AnyNorm) -> tuple[Tensor, Tensor]:
        """x + delta, and that normed."""
        ...

    def place(self, qkv: Tensor, heads: int, head_norm: AnyNorm | None, spot: Spot, rows: StaticRows) -> Tensor:
        """Turns queries and keys, puts keys and values into the rows; qkv: (new, all heads, width) -> queries."""
        ...

    def attend(self, queries: Tensor, spot: Spot, rows: StaticRows, bucket: int) -> Tensor:
        """queries: (new, heads, width) -> (new, heads * width)"""
        ...

    def gate(self, gate_up: Tensor) -> Tensor:
        """(new, 2 * width), the gate first -> (new, width)"""
        ...


class Plain:
    name = "plain torch"
    reads_length = False

    def norm(self, x: Tensor, norm: AnyNorm) -> Tensor:
        return norm(x)

    def add_norm(self, x: Tensor, delta: Tensor, norm: AnyNorm) -> tuple[Tensor, Tensor]:
        x = x + delta
        return x, norm(x)

    def place(self, qkv: Tensor, heads: int, head_norm: AnyNorm | None, spot: Spot, rows: StaticRows) -> Tensor:
        turned = heads + (qkv.shape[1] - heads) // 2
        qk, values = qkv[:, :turned], qkv[:, turned:]
        if head_norm is not None:
            qk = head_norm(qk)
        qk = rotated(qk, spot.cos, spot.sin)
        rows.put(spot.places, qk[:, heads:].transpose(0, 1), values.transpose(0, 1))
        queries = qk[:, :heads]
        return queries if spot.query_scale is None else (queries * spot.query_scale).to(qk.dtype)

    def attend(self, queries: Tensor, spot: Spot, rows: StaticRows, bucket: int) -> Tensor:
        assert spot.seen is not None, "this way needs a mask"
        new, heads, width = queries.shape
        keys, values = rows.seen(bucket)
        # The queries that share a key head are given as its rows: no kernel has to know of groups then.
        shared = heads // keys.shape[1]
        packed = queries.view(new, keys.shape[1], shared, width).transpose(0, 1).reshape(1, keys.shape[1], -1, width)
        mask = spot.seen if shared == 1 else spot.seen.repeat_interleave(shared, 0)
        found = F.scaled_dot_product_attention(packed.to(keys.dtype), keys, values, attn_mask=mask)
        return found[0].view(keys.shape[1], new, -1).transpose(0, 1).reshape(new, -1).to(queries.dtype)

    def gate(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate) * up


def rows_seen(places: Tensor, bucket: int) -> Tensor:
    """Which of the first rows tokens at these places see, (new, bucket) bool."""
    return torch.arange(bucket, device=places.device) <= places[:, None]
