"""Keys and values of one layer in buffers that stay where they are, so that a captured step can write into them.

Owns the two layouts on a card: plain, and 8 bits with the numbers of kv_int8 (each token a scale of its own for each
head, everything rounded), codes and scales apart. Invariant: a buffer is only ever replaced by `reserve` or by a write
that reads a prompt, never by a step; `stamp` tells when it was.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from core.inference.attention import Arithmetic, attend
from core.inference.kv_int8 import LEVELS, ChannelSizes, rounded
from core.inference.kv_rows import Keeping, LayerRows, PlainRows
from core.inference.packed_attention import LEVELS as VALUE_LEVELS

SMALLEST = 512  # tokens of the first bucket; each is twice the one before
LARGEST_DOUBLED = 8192  # from there on a bucket is so much more than the one before, and half of it
TINY = 1e-8


def bucket_of(tokens: int, most: int) -> int:
    """The room for so many tokens; not more than `most` unless it must."""
    bucket = SMALLEST
    while bucket < tokens:
        bucket += bucket if bucket < LARGEST_DOUBLED else LARGEST_DOUBLED // 2
    return max(tokens, min(bucket, most))


class StaticRows(LayerRows, Protocol):
    """What a captured step needs of rows, beside what every pass does."""

    @property
    def room(self) -> int: ...

    @property
    def stamp(self) -> tuple[int, ...]:
        """Where the buffers lie."""
        ...

    def reserve(self, tokens: int) -> None:
        """Have room for so many; there are rows already."""
        ...

    def put(self, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Rows at places that only the device knows; places: (new,), keys, values: (heads, new, width)."""
        ...

    def seen(self, end: int) -> tuple[Tensor, Tensor]:
        """The first rows as plain attention reads them, (1, heads, end, width)."""
        ...


class StaticPlainRows(PlainRows):
    """Plain rows whose buffers grow by buckets."""

    @property
    def room(self) -> int:
        return 0 if self._keys is None else self._keys.shape[2]

    @property
    def stamp(self) -> tuple[int, ...]:
        return tuple(buffer.data_ptr() for buffer in self.buffers)

    @property
    def buffers(self) -> tuple[Tensor, Tensor]:
        """(1, heads, room, width) each."""
        assert self._keys is not None and self._values is not None, "nothing was written"
        return self._keys, self._values

    def reserve(self, tokens: int) -> None:
        keys, values = self.buffers
        self._keys = self._roomy(keys, keys[0], keys.shape[2], tokens)
        self._values = self._roomy(values, values[0], values.shape[2], tokens)

    def put(self, places: Tensor, keys: Tensor, values: Tensor) -> None:
        mine = self.buffers
        mine[0][0].index_copy_(1, places, keys.to(mine[0].dtype))
        mine[1][0].index_copy_(1, places, values.to(mine[1].dtype))

    def seen(self, end: int) -> tuple[Tensor, Tensor]:
        return self.plain(end)

    def fork(self, length: int) -> StaticPlainRows:
        copy = StaticPlainRows(self._how, self._most)
        if self._keys is not None and self._values is not None:
            copy.write(0, self._keys[0, :, :length], self._values[0, :, :length])
        return copy

    def _roomy(self, buffer: Tensor | None, rows: Tensor, at: int, end: int) -> Tensor:
        if buffer is not None and buffer.shape[2] >= end:
            return buffer
        room = bucket_of(end, self._most)
        # Zeros: a step's attention multiplies rows it does not see by 0, and what memory holds may be no number.
        grown = rows.new_zeros(1, rows.shape[0], room, rows.shape[2], dtype=self._how.dtype)
        if buffer is not None:
            grown[:, :, :at] = buffer[:, :, :at]
        return grown


class StaticInt8Rows:
    """8 bits. Buffers: codes of keys int8 and of values uint8, (heads, room, width); the largest value of each row of
    keys bf16, (heads, room); step and lowest value of each row of values fp32, (2, heads, room)."""

    def __init__(self, how: Arithmetic, most: int, sizes: ChannelSizes) -> None:
        self._how, self._most, self.sizes = how, most, sizes
        self._buffers: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def for_native(self, end: int) -> tuple[Tensor, ...] | None:
        return None

    @property
    def buffers(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """keys, largest, values, marks"""
        assert self._buffers is not None, "nothing was written"
        return self._buffers

    @property
    def room(self) -> int:
        return 0 if self._buffers is None else self._buffers[0].shape[1]

    @property
    def stamp(self) -> tuple[int, ...]:
        return tuple(buffer.data_ptr() for buffer in self.buffers)

    @property
    def size_bytes(self) -> int:
        return 0 if self._buffers is None else sum(buffer.nbytes for buffer in self._buffers)

    def reserve(self, tokens: int) -> None:
        self._grow(self.buffers[0], self.room, tokens)

    def write(self, at: int, keys: Tensor, values: Tensor) -> None:
        self._grow(keys, at, at + keys.shape[1])
        here = slice(at, at + keys.shape[1])
        for buffer, new in zip(self.buffers, self._packed(keys, values), strict=True):
            (buffer[..., here] if buffer.dtype in (torch.bfloat16, torch.float32) else buffer[:, here]).copy_(new)

    def put(self, places: Tensor, keys: Tensor, values: Tensor) -> None:
        codes, largest, table, marks = self.buffers
        new = self._packed(keys, values)
        codes.index_copy_(1, places, new[0])
        largest.index_copy_(1, places, new[1])
        table.index_copy_(1, places, new[2])
        marks.index_copy_(2, places, new[3])

    def _packed(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        whole, largest = rounded(keys * self.sizes.inverse(keys.dtype))
        wide = values.float()
        low, high = wide.amin(-1, keepdim=True), wide.amax(-1, keepdim=True)
        codes = (wide - low).mul_(VALUE_LEVELS / (high - low + TINY)).round_().to(torch.uint8)
        marks = torch.stack(((high - low)[..., 0] / VALUE_LEVELS, low[..., 0]))
        return whole.to(torch.int8), largest, codes, marks

    def seen(self, end: int) -> tuple[Tensor, Tensor]:
        codes, largest, table, marks = self.buffers
        steps = largest[:, :end, None].float().mul_(1 / LEVELS)
        keys = (codes[:, :end] * steps).mul_(self.sizes.times(1.0, torch.float32))
        values = (table[:, :end] * marks[0, :, :end, None]).add_(marks[1, :, :end, None])
        return keys[None].to(self._how.dtype), values[None].to(self._how.dtype)

    def plain(self, end: int) -> tuple[Tensor, Tensor]:
        return self.seen(end)

    def attend(self, queries: Tensor, end: int, mask: Tensor | None, scale: float | None = None) -> Tensor:
        return attend(self._how, queries, *self.seen(end), mask, scale)

    def fork(self, length: int) -> StaticInt8Rows:
        copy = StaticInt8Rows(self._how, self._most, self.sizes)
        if self._buffers is not None:
            copy._grow(self._buffers[0], 0, length)
            for mine, theirs in zip(copy.buffers, self._buffers, strict=True):
                _first(mine, length).copy_(_first(theirs, length))
        return copy

    def _grow(self, like: Tensor, filled: int, tokens: int) -> None:
        """like: (heads, any, width), for shape and device"""
        if self.room >= tokens:
            return
        heads, _, width = like.shape
        room, before = bucket_of(tokens, self._most), self._buffers
        self._buffers = (
            like.new_zeros(heads, room, width, dtype=torch.int8),
            like.new_zeros(heads, room, dtype=torch.bfloat16),
            like.new_zeros(heads, room, width, dtype=torch.uint8),
            like.new_zeros(2, heads, room, dtype=torch.float32),
        )
        if before is not None:
            for mine, theirs in zip(self._buffers, before, strict=True):
                _first(mine, filled).copy_(_first(theirs, filled))


def _first(buffer: Tensor, tokens: int) -> Tensor:
    """The first tokens of a buffer of codes, or of one of scales."""
    return buffer.narrow(1 if buffer.dtype in (torch.int8, torch.uint8) else -1, 0, tokens)


def plainly(how: Arithmetic, most: int) -> Keeping:
    """most: tokens, no buffer is made for more unless it must."""
    return Keeping("plain", lambda layer: StaticPlainRows(how, most))


def in_8_bits(how: Arithmetic, most: int, sizes: list[ChannelSizes]) -> Keeping:
    """sizes: of the keys of each layer. From the first token on: here 8 bits take no longer than plain rows."""
    return Keeping("int8", lambda layer: StaticInt8Rows(how, most, sizes[layer]))
