"""The keys and values of one sequence, for every layer of a model.

Buffers are allocated ahead in buckets and attention gets views of the filled part, so a step neither copies nor reads
more than it must. Invariant: rows below `length` belong to the sequence; rows above are free to be overwritten.
"""

from __future__ import annotations

import torch
from torch import Tensor

FIRST_BUCKET = 256  # tokens


class KVCache:
    """Grows by doubling. Layers may differ in their number of heads and in the widths of keys and values."""

    can_crop = True

    def __init__(self, layers: int, context_length: int, adapter: str = "") -> None:
        self.length = 0
        self.adapter = adapter
        self._context_length = context_length
        self._keys: list[Tensor | None] = [None] * layers
        self._values: list[Tensor | None] = [None] * layers

    def serves(self, total: int) -> bool:
        return True

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put new rows after `length` and give all rows up to them, as views.

        keys, values: (heads, new, width). The views are (1, heads, length + new, width). `length` itself moves when
        the last layer is done, by `advance`.
        """
        new = keys.shape[1]
        end = self.length + new
        kept_keys = self._keys[layer] = self._roomy(self._keys[layer], keys, end)
        kept_values = self._values[layer] = self._roomy(self._values[layer], values, end)
        kept_keys[0].narrow(1, self.length, new).copy_(keys)
        kept_values[0].narrow(1, self.length, new).copy_(values)
        return kept_keys.narrow(2, 0, end), kept_values.narrow(2, 0, end)

    def advance(self, tokens: int) -> None:
        self.length += tokens

    def crop(self, length: int) -> None:
        """Forget the rows from `length` on."""
        self.length = min(self.length, length)

    @torch.inference_mode()
    def fork(self, length: int) -> KVCache:
        """A copy of the first `length` rows, for a sequence that only begins the same."""
        copy = KVCache(len(self._keys), self._context_length, self.adapter)
        for layer, (keys, values) in enumerate(zip(self._keys, self._values, strict=True)):
            if keys is not None and values is not None:
                copy.write(layer, keys[0, :, :length], values[0, :, :length])
        copy.length = length
        return copy

    @property
    def size_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (*self._keys, *self._values) if t is not None)

    def _roomy(self, buffer: Tensor | None, new: Tensor, tokens: int) -> Tensor:
        if buffer is not None and buffer.shape[2] >= tokens:
            return buffer
        room = FIRST_BUCKET
        while room < tokens:
            room *= 2
        grown = new.new_empty(1, new.shape[0], min(room, max(self._context_length, tokens)), new.shape[2])
        if buffer is not None:
            grown[:, :, : self.length] = buffer[:, :, : self.length]
        return grown
