"""What is kept of one sequence: the rows of every layer, how many of them are filled, and for what they can serve.

Invariant: rows below `length` belong to the sequence; rows above are free to be overwritten. All layers are kept in the
same way, so all that one pass sees is plain, or all of it packed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.inference.kv_rows import Keeping, LayerRows

Buffers = list[tuple[Tensor, ...]]


def never_stretched(total: int) -> float:
    return 1.0


class KVCache:
    """adapter: as SequenceCache. ntk_alpha: how far its positions are stretched, 1 for not at all."""

    can_crop = True

    def __init__(
        self,
        keeping: Keeping,
        layers: int,
        *,
        adapter: str = "",
        total: int = 0,
        alpha_for: Callable[[int], float] = never_stretched,
    ) -> None:
        """total: length of the prompt it is made for. alpha_for: how far a prompt of so many tokens is stretched."""
        self.length = 0
        self._keeping, self._alpha_for = keeping, alpha_for
        self._now = keeping.of(total)
        self.layers = [self._now.rows(layer) for layer in range(layers)]
        self.adapter = adapter
        self.ntk_alpha = alpha_for(total)
        self._buffers: Buffers | None = None
        self.native_places: Any = None  # of _buffers, for native_step, which alone knows what it is

    def serves(self, total: int) -> bool:
        # The rows of the published int8 form depend on where a prompt ended.
        return self._keeping.kind != "int8_compatible" and self._alpha_for(total) == self.ntk_alpha

    def write(self, layer: int, keys: Tensor, values: Tensor) -> LayerRows:
        """Put new rows after `length`; keys, values: (heads, new, width).

        `length` itself moves when the last layer is done, by `advance`.
        """
        self._pack_if_due(self.length + keys.shape[1])
        rows = self.layers[layer]
        rows.write(self.length, keys, values)
        self._buffers = None  # they may have moved
        return rows

    def _pack_if_due(self, tokens: int) -> None:
        """Once the sequence is long enough its rows move, one layer after the other, to where all later ones go."""
        if self._now is self._keeping or self._keeping.of(tokens) is not self._keeping:
            return
        self._now, self._buffers, self.native_places = self._keeping, None, None
        for layer, plain in enumerate(self.layers):
            rows = self.layers[layer] = self._now.rows(layer)
            if self.length:
                rows.write(0, *(part[0] for part in plain.plain(self.length)))

    @property
    def is_packed(self) -> bool:
        return self._now.kind != "plain"

    def buffers(self, end: int) -> Buffers | None:
        """What all layers keep their rows in, with room for `end`; the same object until one of them moves. None where
        native_step cannot read it, or nothing was written yet."""
        self._pack_if_due(end)
        if self._buffers is None or self._buffers[0][0].shape[-2] < end:
            found = [rows.for_native(end) for rows in self.layers]
            self._buffers = [parts for parts in found if parts is not None]
        return self._buffers if len(self._buffers) == len(self.layers) else None

    def advance(self, tokens: int) -> None:
        if tokens == 1 and self._now.settle is not None:
            self._now.settle(self.layers, self.length)
        self.length += tokens

    def crop(self, length: int) -> None:
        """Forget the rows from `length` on."""
        self.length = min(self.length, length)

    @torch.inference_mode()
    def fork(self, length: int) -> KVCache:
        """A copy of the first `length` rows, for a sequence that only begins the same. What is packed stays so."""
        copy = KVCache(self._keeping, 0, adapter=self.adapter, alpha_for=self._alpha_for)
        copy.layers = [rows.fork(length) for rows in self.layers]
        copy.ntk_alpha, copy.length, copy._now = self.ntk_alpha, length, self._now
        return copy

    @property
    def size_bytes(self) -> int:
        return sum(rows.size_bytes for rows in self.layers)
