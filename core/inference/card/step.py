"""One pass of a few tokens whose shapes never change: what differs from token to token lies in tensors on the device.

Owns the order of a layer's parts. Invariant: nothing here asks the device for a number or allocates on the host, so the
pass can be captured; called as it is, on any device, it gives what the lean pass gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.inference.architectures import Parts
from core.inference.card.operations import Operations, Spot, rows_seen
from core.inference.card.rows import StaticRows
from core.inference.positions import Tables


class Step:
    """tables: of all positions there can be. bucket: rows that are seen, where the operations do not read the
    length."""

    def __init__(
        self, parts: Parts, layers: Sequence[StaticRows], tables: Tables, operations: Operations, bucket: int
    ) -> None:
        self._parts, self._layers, self._tables = parts, layers, tables
        self._operations, self._bucket = operations, bucket

    def __call__(self, tokens: Tensor, position: Tensor) -> Tensor:
        """tokens: (new,) int64, position: (1,) int64, of the first of them -> logits, (new, vocabulary)."""
        parts, do = self._parts, self._operations
        spot = self._spot(position, tokens.shape[0])
        x = parts.embedding[tokens].to(parts.dtype)
        normed = do.norm(x, parts.layers[0].attention_norm)
        following = [layer.attention_norm for layer in parts.layers[1:]] + [parts.final_norm]
        for layer, rows, next_norm in zip(parts.layers, self._layers, following, strict=True):
            qkv = layer.qkv(normed).view(x.shape[0], -1, parts.width)
            queries = do.place(qkv, parts.heads, layer.head_norm, spot, rows)
            out = layer.out(do.attend(queries, spot, rows, self._bucket))
            x, normed = do.add_norm(x, out, layer.mlp_norm)
            down = layer.down(do.gate(layer.gate_up(normed)))
            x, normed = do.add_norm(x, down, next_norm)
        return parts.head(normed)

    def _spot(self, position: Tensor, new: int) -> Spot:
        tables = self._tables
        places = position if new == 1 else position + torch.arange(new, device=position.device)
        scale = tables.query_scale
        return Spot(
            places,
            tables.cos.index_select(0, places),
            tables.sin.index_select(0, places),
            None if scale is None else scale.index_select(0, places),
            None if self._operations.reads_length else rows_seen(places, self._bucket),
        )
