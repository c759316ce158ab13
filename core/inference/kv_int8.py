"""Keys and values of one layer in 8 bits: ours, and the published form of the first generation.

Owns both forms and attention over them. Invariant: what is stored of a token depends on its own keys and values alone,
so in our form it does not matter in how many parts a prompt was read, nor whether its rows were plain at first, as
those of a short sequence are (KVCache moves them; where layers compute in more than the precision of plain rows, they
were rounded to that). While they are plain the model sees them plain. In the published form, which is never plain, the
parts are chunks that share a scale.

Ours: each token has a scale of its own for each head, and everything is rounded. Some channels of keys are far larger
than the others and would take all the levels, so keys are divided by the root of each channel's usual size before, and
queries multiplied by it. Rounding the keys of one token takes a dozen calls, which for a small model is more than
attention itself; so a step sees its own key as it is, and `settle` rounds those of all layers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from core.inference import packed_attention as packed
from core.inference.attention import Arithmetic, attend
from core.inference.kv_rows import LayerRows, room_for
from core.models.qwen_v1 import int8_rows
from core.models.qwen_v1.int8_rows import Rows

LEVELS = 127  # of our keys, on either side of 0
MIDDLE = 128  # of the published codes, 0 to 255
SMALLEST = 1e-12  # of what is divided by, for rows of zeros
AT_ONCE = 1 << 26  # bytes of rows made floating point at a time


@dataclass(frozen=True, slots=True)
class Shared:
    """What the int8 rows of all layers have in common. most: tokens, no buffer is made for more unless it must.
    settles: `settle` follows each step, and only `attend` sees the rows before."""

    how: Arithmetic
    most: int
    settles: bool = False
    places: packed.Places = field(default_factory=packed.Places)


class _Stored:
    """keys: (heads, room, width) int8; marks: (kinds, heads, room), what belongs to each row of keys; values: (heads,
    room, width + 8) uint8, as packed_attention.rows_of. can_pack: attention can read the codes themselves."""

    __slots__ = ("can_pack", "keys", "marks", "room", "values")

    def __init__(self, keys: Tensor, marks: Tensor, values: Tensor, room: int) -> None:
        """Room for rows that are like these: (heads, tokens, width), (kinds, heads, tokens), (heads, tokens, width)."""
        heads, self.room = keys.shape[0], room
        self.keys = keys.new_empty(heads, room, keys.shape[2], dtype=torch.int8)
        self.marks = marks.new_empty(marks.shape[0], heads, room)
        self.values = keys.new_empty(heads, room, values.shape[2], dtype=torch.uint8)
        fits = keys.device.type == "cpu" and keys.shape[2] % packed.STRIDE == 0
        self.can_pack = fits and packed.is_better()

    def with_room(self, room: int, filled: int) -> _Stored:
        """A copy of the first `filled` tokens, with room for more."""
        copy = _Stored(self.keys, self.marks, self.values, room)
        copy.put(0, self.keys[:, :filled], self.marks[:, :, :filled], self.values[:, :filled])
        return copy

    def put(self, at: int, keys: Tensor, marks: Tensor, values: Tensor) -> None:
        new = keys.shape[1]
        self.keys.narrow(1, at, new).copy_(keys)
        self.marks.narrow(2, at, new).copy_(marks)
        self.values.narrow(1, at, new).copy_(values)

    @property
    def size_bytes(self) -> int:
        return self.keys.nbytes + self.marks.nbytes + self.values.nbytes


class _Rows:
    """What both forms have in common."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._stored: _Stored | None = None

    def _put(self, at: int, keys: Tensor, marks: Tensor, values: Tensor) -> None:
        """As _Stored holds them; the codes of keys may be whole numbers of another kind."""
        stored, end = self._stored, at + keys.shape[1]
        if stored is None:
            stored = self._stored = _Stored(keys, marks, values, room_for(end, self._shared.most))
        elif stored.room < end:
            stored = self._stored = stored.with_room(room_for(end, self._shared.most), at)
        stored.put(at, keys, marks, values)

    def attend(self, queries: Tensor, end: int, mask: Tensor | None, scale: float | None = None) -> Tensor:
        stored = self._filled()
        scale = queries.shape[-1] ** -0.5 if scale is None else scale
        if not stored.can_pack or queries.shape[0] > 1:
            return self._attend_plain(stored, queries, end, mask, scale)
        shares = self._scores(stored, queries, end, scale).softmax(-1, dtype=torch.float32)
        places = self._shared.places.of(shares.shape[0], shares.shape[1], stored.room, end)
        return packed.sums(shares, stored.values, places).view(1, -1).to(queries.dtype)

    def _scores(self, stored: _Stored, queries: Tensor, end: int, scale: float) -> Tensor:
        """Of one query, (1, heads, width), with the keys up to `end` -> (key heads, heads for each, end)."""
        raise NotImplementedError

    def _attend_plain(self, stored: _Stored, queries: Tensor, end: int, mask: Tensor | None, scale: float) -> Tensor:
        """With the rows made floating point, some heads at a time."""
        heads, how = stored.keys.shape[0], self._shared.how
        group = queries.shape[1] // heads
        count = max(1, AT_ONCE // (8 * end * queries.shape[2]))
        dtype = torch.float32 if how.reads_in_fp32 else queries.dtype
        parts = []
        for first in range(0, heads, count):
            last = min(first + count, heads)
            keys, values = self._floats(stored, slice(first, last), end)
            some = queries[:, first * group : last * group]
            seen = attend(how, some, keys[None].to(dtype), values[None].to(dtype), mask, scale)
            parts.append(seen.to(queries.dtype))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _floats(self, stored: _Stored, heads: slice, end: int) -> tuple[Tensor, Tensor]:
        """Keys and values of some heads, (heads, end, width)."""
        raise NotImplementedError

    def for_native(self, end: int) -> tuple[Tensor, ...] | None:
        return None

    def plain(self, end: int) -> tuple[Tensor, Tensor]:
        keys, values = self._floats(self._filled(), slice(None), end)
        return keys[None].to(self._shared.how.dtype), values[None].to(self._shared.how.dtype)

    def _filled(self) -> _Stored:
        assert self._stored is not None, "nothing was written"
        return self._stored

    def _new(self) -> Self:
        return type(self)(self._shared)

    def fork(self, length: int) -> Self:
        copy = self._new()
        if self._stored is not None:
            copy._stored = self._stored.with_room(room_for(length, self._shared.most), length)
        return copy

    @property
    def size_bytes(self) -> int:
        return 0 if self._stored is None else self._stored.size_bytes


class ChannelSizes:
    """How large each channel of the keys of a layer usually is, (heads, 1, width), as powers of two: multiplying by
    these is exact in every precision."""

    def __init__(self, sizes: Tensor) -> None:
        self._sizes = sizes.float().log2().round_().exp2()
        self._ready: dict[tuple[float, torch.dtype], Tensor] = {}

    @classmethod
    def of(cls, keys: Tensor) -> ChannelSizes:
        """The roots of the largest values; keys: (heads, tokens, width), of any text."""
        most = keys.float().abs().amax(1, keepdim=True)
        if most.shape[-1] % 2 == 0:
            # Positions turn each channel of the first half with its partner in the second, so either may get the size.
            first, second = most.chunk(2, -1)
            most = first.maximum(second).repeat(1, 1, 2)
        return cls(most.clamp_min(1e-3 * float(most.max()) + SMALLEST).sqrt())

    def times(self, scale: float, dtype: torch.dtype) -> Tensor:
        if (found := self._ready.get((scale, dtype))) is None:
            found = self._ready[scale, dtype] = (self._sizes * scale).to(dtype)
        return found

    def inverse(self, dtype: torch.dtype) -> Tensor:
        if (found := self._ready.get((0.0, dtype))) is None:
            found = self._ready[0.0, dtype] = self._sizes.reciprocal().to(dtype)
        return found


class Int8Rows(_Rows):
    """Ours. Of a row of keys the largest value is kept, bf16: its step is a 127th of that.

    pending: keys of a step, (heads, 1, width), that are not stored yet; its values are
    """

    def __init__(self, shared: Shared, sizes: ChannelSizes) -> None:
        super().__init__(shared)
        self.sizes = sizes
        self.pending: Tensor | None = None

    def _new(self) -> Self:
        return type(self)(self._shared, self.sizes)

    def write(self, at: int, keys: Tensor, values: Tensor) -> None:
        stored, table = self._stored, packed.rows_of(values)
        if keys.shape[1] == 1 and self._shared.settles and stored is not None and stored.can_pack and at < stored.room:
            self.pending = keys
            stored.values.narrow(1, at, 1).copy_(table)
            return
        self.pending = None
        codes, most = rounded(keys * self.sizes.inverse(keys.dtype))
        self._put(at, codes, most[None], table)

    def for_native(self, end: int) -> tuple[Tensor, ...] | None:
        """Keys, values and marks as _Stored has them, and the sizes of channels, (heads, 1, width)."""
        stored = self._stored
        if stored is None or self.pending is not None or stored.marks.dtype != torch.bfloat16:
            return None
        if stored.room < end:
            stored = self._stored = stored.with_room(room_for(end, self._shared.most), stored.room)
        return stored.keys, stored.values, stored.marks, self.sizes.times(1.0, torch.float32)

    def settle(self, at: int, codes: Tensor, most: Tensor) -> None:
        """Store the keys of a step: (heads, 1, width) int8, (heads, 1)."""
        stored, self.pending = self._filled(), None
        stored.keys.narrow(1, at, 1).copy_(codes)
        stored.marks[0].narrow(1, at, 1).copy_(most)

    def _scores(self, stored: _Stored, queries: Tensor, end: int, scale: float) -> Tensor:
        # What is the same for all rows, the 127th, goes into the queries.
        times, pending = self.sizes.times(scale / LEVELS, queries.dtype), self.pending
        queries = queries.view(times.shape[0], -1, times.shape[2])
        before = end if pending is None else end - 1
        wide = (queries * times).bfloat16()
        scores = packed.products(wide, stored.keys.narrow(1, 0, before), stored.marks[0].narrow(1, 0, before))
        if pending is None:
            return scores
        own = torch.bmm(queries, pending.transpose(1, 2)).mul_(scale)
        return torch.cat((scores, own), -1)

    def _floats(self, stored: _Stored, heads: slice, end: int) -> tuple[Tensor, Tensor]:
        steps = stored.marks[0, heads, :end, None].float().mul_(1 / LEVELS)
        keys = (stored.keys[heads, :end] * steps).mul_(self.sizes.times(1.0, torch.float32)[heads])
        return keys, packed.floats_of(stored.values[heads, :end])


@torch.inference_mode()
def settle(layers: Sequence[LayerRows], at: int) -> None:
    """Store the keys of a step where all layers hold them."""
    held = [rows for rows in layers if isinstance(rows, Int8Rows) and rows.pending is not None]
    if not held or len(held) < len(layers):
        return
    keys = torch.stack([rows.pending for rows in held if rows.pending is not None])
    codes, most = rounded(keys * torch.stack([rows.sizes.inverse(keys.dtype) for rows in held]))
    for rows, *parts in zip(held, codes.to(torch.int8).unbind(), most.unbind(), strict=True):
        rows.settle(at, *parts)


def rounded(keys: Tensor) -> tuple[Tensor, Tensor]:
    """(..., tokens, width) -> whole numbers of 127ths of each row's largest value, and those, (..., tokens) bf16."""
    most = keys.abs().amax(-1, True).clamp_min_(SMALLEST).bfloat16()
    return (keys.float() * LEVELS).div_(most.float()).round_(), most[..., 0]


class CompatibleRows(_Rows):
    """The published form. Of a row of keys scale and zero are kept, in the model's precision."""

    def write(self, at: int, keys: Tensor, values: Tensor) -> None:
        key, value = (int8_rows.quantise_chunk(part[None].to(self._shared.how.dtype)) for part in (keys, values))
        codes = (key.levels[0] ^ MIDDLE).view(torch.int8)
        scale = value.scale[0].float()
        table = packed.with_marks(value.levels[0], scale, -scale * value.zero[0].float())
        self._put(at, codes, torch.cat((key.scale, key.zero))[..., 0], table)

    def published(self, end: int) -> tuple[Rows, Rows]:
        """Keys and values as the published cache holds them."""
        stored, dtype = self._filled(), self._shared.how.dtype
        scale, zero = stored.marks[:, None, :, :end, None].unbind()
        keys = Rows(stored.keys[None, :, :end].view(torch.uint8) ^ MIDDLE, scale, zero)
        table = stored.values[None, :, :end]
        step, low = packed.marks_of(table)
        return keys, Rows(table[..., : -packed.MARKS], step.to(dtype), (-low / step).to(dtype))

    def _scores(self, stored: _Stored, queries: Tensor, end: int, scale: float) -> Tensor:
        """A key is scale * code + rest, the rest being scale * (128 - zero)."""
        wide = (queries.view(stored.keys.shape[0], -1, queries.shape[-1]) * scale).bfloat16()
        marks = stored.marks.narrow(2, 0, end)
        found = packed.products(wide, stored.keys.narrow(1, 0, end), marks[0].bfloat16())
        scales, zeros = marks[:, :, None].float().unbind()
        return torch.addcmul(found.float(), wide.sum(-1, keepdim=True, dtype=torch.float32), (MIDDLE - zeros) * scales)

    def _floats(self, stored: _Stored, heads: slice, end: int) -> tuple[Tensor, Tensor]:
        keys, values = (int8_rows.dequantise(rows)[0, heads] for rows in self.published(end))
        return keys, values
