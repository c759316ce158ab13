"""Keys and values of one layer in 8 bits: ours, and the published form of the first generation.

Owns both forms and attention over them. Invariant: what is stored of a token depends on its own keys and values alone;
so in our form it does not matter in how many parts a prompt was read. (In the published form the parts are chunks that
share a scale.)

Ours: each token has a scale of its own for each head, symmetric, rounded. Some channels of keys are far larger than the
others and would take all the levels, so keys are divided by the root of each channel's usual size before, and queries
multiplied by it. Storing one token costs more calls than plain rows do, so a step attends to its own token as it is,
and what all layers have of it is stored at once, by `settle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import torch
from torch import Tensor

from core.inference import packed_attention
from core.inference.attention import Arithmetic, attend
from core.inference.kv_rows import LayerRows, room_for
from core.inference.packed_attention import STRIDE, Scratch, multiply
from core.models.qwen_v1 import int8_rows
from core.models.qwen_v1.int8_rows import Rows

LEVELS = 127  # on either side of 0
MIDDLE = 128  # of the published codes, 0 to 255
SMALLEST = 1e-12  # of what is divided by, for rows of zeros
AT_ONCE = 1 << 26  # bytes of rows made floating point at a time


@dataclass(frozen=True, slots=True)
class Shared:
    """What the int8 rows of all layers have in common. most: tokens, no buffer is made for more unless it must.
    settles: `settle` is called after each step, and `attend` before it, so that a step need not be stored at once."""

    how: Arithmetic
    most: int
    settles: bool = False
    scratch: Scratch = field(default_factory=Scratch)


class _Stored(NamedTuple):
    """keys: (heads, tokens, width) and values: (heads, width, tokens), so that a product over tokens reads them in
    order, both int8; marks: (kinds, heads, tokens), the numbers that each row has of its own."""

    keys: Tensor
    values: Tensor
    marks: Tensor

    @property
    def room(self) -> int:
        return self.keys.shape[1]

    def with_room(self, room: int, filled: int) -> _Stored:
        """A copy of the first `filled` tokens, with room for more."""
        copies = []
        for part, axis in zip(self, (1, 2, 2), strict=True):
            copy = part.new_empty(*part.shape[:axis], room, *part.shape[axis + 1 :])
            copy.narrow(axis, 0, filled).copy_(part.narrow(axis, 0, filled))
            copies.append(copy)
        return _Stored(*copies)


class _Rows:
    """What both forms have in common."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._stored: _Stored | None = None

    def _store(self, at: int, keys: Tensor, values: Tensor, marks: Tensor) -> None:
        """keys, values: (heads, new, width), whole numbers from -128 to 127; marks: (kinds, heads, new)."""
        heads, new = keys.shape[:2]
        end = at + new
        if self._stored is None:
            empty = _Stored(
                keys.new_empty(heads, 0, keys.shape[2], dtype=torch.int8),
                keys.new_empty(heads, values.shape[2], 0, dtype=torch.int8),
                marks.new_empty(marks.shape[0], heads, 0),
            )
            self._stored = empty.with_room(room_for(end, self._shared.most), 0)
        elif self._stored.room < end:
            self._stored = self._stored.with_room(room_for(end, self._shared.most), at)
        self._stored.keys.narrow(1, at, new).copy_(keys)
        self._stored.values.narrow(2, at, new).copy_(values.transpose(1, 2))
        self._stored.marks.narrow(2, at, new).copy_(marks)

    def attend(self, queries: Tensor, end: int, mask: Tensor | None, scale: float | None = None) -> Tensor:
        stored = self._filled()
        scale = queries.shape[-1] ** -0.5 if scale is None else scale
        if queries.shape[0] == 1 and _can_pack(stored):
            return self._attend_packed(stored, queries, end, scale)
        return self._attend_plain(stored, queries, end, mask, scale)

    def _attend_packed(self, stored: _Stored, queries: Tensor, end: int, scale: float) -> Tensor:
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
            keys, values = self._floats(stored, slice(first, last), end, dtype)
            some = queries[:, first * group : last * group]
            parts.append(attend(how, some, keys[None], values[None], mask, scale).to(queries.dtype))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _floats(self, stored: _Stored, heads: slice, end: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values of some heads, (heads, end, width)."""
        raise NotImplementedError

    def plain(self, end: int) -> tuple[Tensor, Tensor]:
        keys, values = self._floats(self._filled(), slice(None), end, self._shared.how.dtype)
        return keys[None], values[None]

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
        return 0 if self._stored is None else sum(part.nbytes for part in self._stored)


def _can_pack(stored: _Stored) -> bool:
    widths = (stored.keys.shape[2], stored.values.shape[1], stored.room)
    is_fitting = stored.keys.device.type == "cpu" and all(width % STRIDE == 0 for width in widths)
    return is_fitting and packed_attention.is_better()


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

    def inverse(self, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
        if (found := self._ready.get((-scale, dtype))) is None:
            found = self._ready[-scale, dtype] = (self._sizes.reciprocal() * scale).to(dtype)
        return found


class Int8Rows(_Rows):
    """Ours. The marks are the largest value of each row of keys, and of values.

    pending: keys and values, (heads, 1, width), of a step that is not stored yet
    """

    def __init__(self, shared: Shared, sizes: ChannelSizes) -> None:
        super().__init__(shared)
        self.sizes = sizes
        self.pending: tuple[Tensor, Tensor] | None = None

    def _new(self) -> Self:
        return type(self)(self._shared, self.sizes)

    def write(self, at: int, keys: Tensor, values: Tensor) -> None:
        is_step = at > 0 and keys.shape[1] == 1 and self._shared.settles
        if is_step and self._stored is not None and _can_pack(self._stored):
            self.pending = keys, values
            return
        self.pending = None
        key_codes, key_marks = _rounded(keys * self.sizes.inverse(keys.dtype))
        value_codes, value_marks = _rounded(values)
        self._store(at, key_codes, value_codes, torch.stack((key_marks, value_marks)))

    def settle(self, at: int, keys: Tensor, values: Tensor, marks: Tensor) -> None:
        """Store a step; codes (heads, 1, width) and marks (2, heads, 1)."""
        self._store(at, keys, values, marks)
        self.pending = None

    def _attend_packed(self, stored: _Stored, queries: Tensor, end: int, scale: float) -> Tensor:
        heads, width = stored.keys.shape[0], queries.shape[-1]
        scratch, pending = self._shared.scratch, self.pending
        if pending is not None:
            end -= 1
        marks = stored.marks.narrow(2, 0, end)
        # A step is a 127th of its row's largest value: what is the same for all rows goes into the queries.
        wide = (queries.view(heads, -1, width) * self.sizes.times(scale / LEVELS, queries.dtype)).bfloat16()
        scores = multiply(wide, stored.keys.narrow(1, 0, end), marks[0])
        if pending is not None:
            own = pending[0] * self.sizes.inverse(queries.dtype, LEVELS)
            scores = torch.cat((scores, torch.bmm(wide, own.bfloat16().transpose(1, 2))), -1)
        shares = scores.softmax(-1)
        weights = scratch.weights(heads, scores.shape[1], end, stored.room)
        torch.mul(shares.narrow(2, 0, end), marks[1][:, None], out=weights.narrow(2, 0, end))
        seen = multiply(weights, stored.values, scratch.same(heads, stored.values.shape[1], 1 / LEVELS))
        if pending is not None:
            seen = torch.addcmul(seen, shares.narrow(2, end, 1), pending[1])
        return seen.view(1, -1).to(queries.dtype)

    def _floats(self, stored: _Stored, heads: slice, end: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        steps = stored.marks[:, heads, :end, None].float().mul_(1 / LEVELS)
        keys = (stored.keys[heads, :end] * steps[0]).mul_(self.sizes.times(1.0, torch.float32)[heads])
        values = stored.values[heads, :, :end].transpose(1, 2) * steps[1]
        return keys.to(dtype), values.to(dtype)


@torch.inference_mode()
def settle(layers: Sequence[LayerRows], at: int) -> None:
    """Store the step that all layers hold; nothing where they do not."""
    held = [rows for rows in layers if isinstance(rows, Int8Rows) and rows.pending is not None]
    if not held or len(held) < len(layers):
        return
    keys = torch.stack([rows.pending[0] for rows in held if rows.pending])
    values = torch.stack([rows.pending[1] for rows in held if rows.pending])
    inverses = torch.stack([rows.sizes.inverse(keys.dtype) for rows in held])
    key_codes, key_marks = _rounded(keys * inverses)
    value_codes, value_marks = _rounded(values)
    marks = torch.stack((key_marks, value_marks), 1)
    for rows, *parts in zip(held, key_codes.unbind(), value_codes.unbind(), marks.unbind(), strict=True):
        rows.settle(at, *parts)


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(..., tokens, width) -> whole numbers of 127ths of each row's largest value, and those, (..., tokens) bf16."""
    most = rows.abs().amax(-1, True).clamp_min_(SMALLEST).bfloat16()
    return (rows.float() * LEVELS).div_(most.float()).round_(), most[..., 0]


class CompatibleRows(_Rows):
    """The published form. The marks are scale and zero of the keys, then of the values, in the model's precision."""

    def write(self, at: int, keys: Tensor, values: Tensor) -> None:
        key, value = (int8_rows.quantise_chunk(part[None].to(self._shared.how.dtype)) for part in (keys, values))
        marks = torch.stack([part[0, ..., 0] for part in (key.scale, key.zero, value.scale, value.zero)])
        key_codes, value_codes = ((rows.levels[0] ^ MIDDLE).view(torch.int8) for rows in (key, value))
        self._store(at, key_codes, value_codes, marks)

    def published(self, end: int) -> tuple[Rows, Rows]:
        """Keys and values as the published cache holds them."""
        stored = self._filled()
        key_codes, value_codes = stored.keys[:, :end], stored.values[..., :end].transpose(1, 2)
        key_scale, key_zero, value_scale, value_zero = stored.marks[:, None, :, :end, None].unbind()
        return (
            Rows(key_codes[None].view(torch.uint8) ^ MIDDLE, key_scale, key_zero),
            Rows(value_codes.contiguous()[None].view(torch.uint8) ^ MIDDLE, value_scale, value_zero),
        )

    def _attend_packed(self, stored: _Stored, queries: Tensor, end: int, scale: float) -> Tensor:
        """A value is scale * code + rest, the rest being scale * (128 - zero): both parts are summed apart."""
        heads, scratch, dtype = stored.keys.shape[0], self._shared.scratch, queries.dtype
        queries = (queries.view(heads, -1, queries.shape[-1]) * scale).bfloat16()
        key_scale, key_zero, value_scale, value_zero = stored.marks[:, :, None, :end].float().unbind()
        products = multiply(queries, stored.keys.narrow(1, 0, end), scratch.same(heads, end, 1))
        rest = (MIDDLE - key_zero) * queries.sum(-1, keepdim=True, dtype=torch.float32)
        seen = ((products + rest) * key_scale).softmax(-1)
        weights = scratch.weights(heads, seen.shape[1], end, stored.room)
        scaled = torch.mul(seen, value_scale, out=weights.narrow(2, 0, end))
        rest = (scaled * (MIDDLE - value_zero)).sum(-1, keepdim=True)
        mixed = multiply(weights, stored.values, scratch.same(heads, stored.values.shape[1], 1)) + rest
        return mixed.view(1, -1).to(dtype)

    def _floats(self, stored: _Stored, heads: slice, end: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        keys, values = self.published(end)
        some = (Rows(*(part[:, heads] for part in rows)) for rows in (keys, values))
        keys_, values_ = (int8_rows.dequantise(rows)[0].to(dtype) for rows in some)
        return keys_, values_
