"""The keys and values of one layer of one sequence, as the model computed them.

Buffers are allocated ahead in buckets and attention gets views of the filled part, so a step neither copies nor reads
more than it must. Invariant: what lies after the rows that were written is free to be overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from torch import Tensor

from core.inference.attention import Arithmetic, attend
from core.inference.decoder import KVKind

BUCKET = 256  # tokens


class LayerRows(Protocol):
    def write(self, at: int, keys: Tensor, values: Tensor) -> None:
        """Put rows from `at` on; keys, values: (heads, new, width)."""
        ...

    def attend(self, queries: Tensor, end: int, mask: Tensor | None, scale: float | None = None) -> Tensor:
        """As attention.attend, over the rows up to `end`; queries: (tokens, heads, width), heads * width come back."""
        ...

    def plain(self, end: int) -> tuple[Tensor, Tensor]:
        """Keys and values up to `end`, (1, heads, end, width), as attention of the model itself wants them."""
        ...

    def fork(self, length: int) -> Self:
        """A copy of the first `length` rows."""
        ...

    def for_native(self, end: int) -> tuple[Tensor, ...] | None:
        """What it keeps rows in, with room for `end` of them, for native_step; None where that cannot read it, or where
        nothing was written yet, not even no rows."""
        ...

    @property
    def size_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Keeping:
    """How a model's keys and values are kept. rows: makes those of the layer of this number; settle: called with those
    of all layers after each token that was added by itself, and with where it stands. short: how a sequence of fewer
    than `begins_at` tokens is kept in place of that."""

    kind: KVKind
    rows: Callable[[int], LayerRows]
    settle: Callable[[Sequence[LayerRows], int], None] | None = None
    short: Keeping | None = None
    begins_at: int = 0

    def of(self, tokens: int) -> Keeping:
        """How a sequence of so many tokens is kept."""
        return self.short if self.short is not None and tokens < self.begins_at else self


def plainly(how: Arithmetic, most: int) -> Keeping:
    """most: as PlainRows"""
    return Keeping("plain", lambda layer: PlainRows(how, most))


class PlainRows:
    def __init__(self, how: Arithmetic, most: int) -> None:
        """most: tokens, no buffer is made for more unless it must."""
        self._how, self._most = how, most
        self._keys: Tensor | None = None  # (1, heads, room, width)
        self._values: Tensor | None = None

    def write(self, at: int, keys: Tensor, values: Tensor) -> None:
        new = keys.shape[1]
        self._keys = self._roomy(self._keys, keys, at, at + new)
        self._values = self._roomy(self._values, values, at, at + new)
        self._keys[0].narrow(1, at, new).copy_(keys)
        self._values[0].narrow(1, at, new).copy_(values)

    def attend(self, queries: Tensor, end: int, mask: Tensor | None, scale: float | None = None) -> Tensor:
        return attend(self._how, queries, *self.plain(end), mask, scale)

    def plain(self, end: int) -> tuple[Tensor, Tensor]:
        assert self._keys is not None and self._values is not None, "nothing was written"
        return self._keys.narrow(2, 0, end), self._values.narrow(2, 0, end)

    def for_native(self, end: int) -> tuple[Tensor, ...] | None:
        """Keys and values, (1, heads, room, width)."""
        if self._keys is None or self._values is None:
            return None
        if (filled := self._keys.shape[2]) < end:
            self._keys = self._roomy(self._keys, self._keys[0], filled, end)
            self._values = self._roomy(self._values, self._values[0], filled, end)
        return self._keys, self._values

    def fork(self, length: int) -> PlainRows:
        copy = PlainRows(self._how, self._most)
        if self._keys is not None and self._values is not None:
            copy.write(0, self._keys[0, :, :length], self._values[0, :, :length])
        return copy

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self._keys, self._values) if tensor is not None)

    def _roomy(self, buffer: Tensor | None, rows: Tensor, at: int, end: int) -> Tensor:
        if buffer is not None and buffer.shape[2] >= end:
            return buffer
        grown = rows.new_empty(1, rows.shape[0], room_for(end, self._most), rows.shape[2], dtype=self._how.dtype)
        if buffer is not None:
            grown[:, :, :at] = buffer[:, :, :at]
        return grown


def room_for(tokens: int, most: int) -> int:
    """How many rows to make room for: a few buckets, later an eighth more than are needed, not more than `most`."""
    bucket = max(BUCKET, tokens // 8 // BUCKET * BUCKET)
    return max(tokens, min(most, -(-tokens // bucket) * bucket))
