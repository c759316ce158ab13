"""Keys and values of one layer in 8 bits: ours, and the published form of the first generation.

Owns both forms and attention over them. Invariant: every query sees what was stored, also of its own pass; so in our
form it does not matter in how many parts a prompt was read. (In the published form the parts change what is stored.)

Ours: each token has a scale of its own for each head, symmetric, rounded. Some channels of keys are far larger than the
others and would take all the levels, so keys are divided by the root of each channel's usual size before, and queries
multiplied by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Self

import torch
from torch import Tensor

from core.inference import packed_attention
from core.inference.attention import Arithmetic, attend
from core.inference.kv_rows import room_for
from core.inference.packed_attention import STRIDE, Scratch, multiply
from core.models.qwen_v1 import int8_rows
from core.models.qwen_v1.int8_rows import Rows

LEVELS = 127  # on either side of 0
MIDDLE = 128  # of the published codes, 0 to 255
SMALLEST = 1e-12  # scale, for rows of zeros
AT_ONCE = 1 << 26  # bytes of rows made floating point at a time


@dataclass(frozen=True, slots=True)
class Shared:
    """What the int8 rows of all layers have in common. most: tokens, no buffer is made for more unless it must."""

    how: Arithmetic
    most: int
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
    """How large each channel of the keys of a layer usually is, (heads, 1, width) fp32."""

    def __init__(self, sizes: Tensor) -> None:
        self.sizes = sizes
        self.inverse = sizes.reciprocal()
        self._scaled: tuple[float, Tensor] = (1.0, sizes)

    @classmethod
    def of(cls, keys: Tensor) -> ChannelSizes:
        """keys: (heads, tokens, width), of any text."""
        most = keys.float().abs().amax(1, keepdim=True)
        if most.shape[-1] % 2 == 0:
            # Positions turn each channel of the first half with its partner in the second, so either may get the size.
            first, second = most.chunk(2, -1)
            most = first.maximum(second).repeat(1, 1, 2)
        return cls(most.clamp_min(1e-3 * float(most.max()) + SMALLEST).sqrt())

    def times(self, scale: float) -> Tensor:
        if self._scaled[0] != scale:
            self._scaled = (scale, self.sizes * scale)
        return self._scaled[1]


class Int8Rows(_Rows):
    """Ours. The marks are the scales of keys and values."""

    def __init__(self, shared: Shared, sizes: ChannelSizes) -> None:
        super().__init__(shared)
        self._sizes = sizes

    def _new(self) -> Self:
        return type(self)(self._shared, self._sizes)

    def write(self, at: int, keys: Tensor, values: Tensor) -> None:
        keys = keys * self._sizes.inverse
        if keys.shape[-1] != values.shape[-1]:
            (key_codes, key_scales), (value_codes, value_scales) = _rounded(keys), _rounded(values.float())
            self._store(at, key_codes, value_codes, torch.stack((key_scales, value_scales)))
            return
        codes, scales = _rounded(torch.stack((keys, values.float())))
        self._store(at, codes[0], codes[1], scales)

    def _attend_packed(self, stored: _Stored, queries: Tensor, end: int, scale: float) -> Tensor:
        heads, scratch = stored.keys.shape[0], self._shared.scratch
        wide = queries.view(heads, -1, queries.shape[-1]) * self._sizes.times(scale)
        key_scales, value_scales = stored.marks.narrow(2, 0, end).unbind()
        scores = multiply(wide.bfloat16(), stored.keys.narrow(1, 0, end), key_scales)
        weights = scratch.weights(scores, stored.room)
        torch.mul(scores.softmax(-1, dtype=torch.float32), value_scales[:, None], out=weights.narrow(2, 0, end))
        seen = multiply(weights, stored.values, scratch.ones(heads, stored.values.shape[1]))
        return seen.view(1, -1).to(queries.dtype)

    def _floats(self, stored: _Stored, heads: slice, end: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        scales = stored.marks[:, heads, :end, None].float()
        keys = (stored.keys[heads, :end] * scales[0]).mul_(self._sizes.sizes[heads])
        values = stored.values[heads, :, :end].transpose(1, 2) * scales[1]
        return keys.to(dtype), values.to(dtype)


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(..., width) fp32 -> whole numbers of as many steps, and the steps, (...) bf16."""
    steps = torch.linalg.vector_norm(rows, float("inf"), -1, True).mul_(1 / LEVELS).clamp_min_(SMALLEST).bfloat16()
    return (rows / steps).round_(), steps[..., 0]


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
        products = multiply(queries, stored.keys.narrow(1, 0, end), scratch.ones(heads, end))
        rest = (MIDDLE - key_zero) * queries.sum(-1, keepdim=True, dtype=torch.float32)
        seen = ((products + rest) * key_scale).softmax(-1)
        weights = scratch.weights(seen, stored.room)
        scaled = torch.mul(seen, value_scale, out=weights.narrow(2, 0, end))
        rest = (scaled * (MIDDLE - value_zero)).sum(-1, keepdim=True)
        mixed = multiply(weights, stored.values, scratch.ones(heads, stored.values.shape[1])) + rest
        return mixed.view(1, -1).to(dtype)

    def _floats(self, stored: _Stored, heads: slice, end: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        keys, values = self.published(end)
        some = (Rows(*(part[:, heads] for part in rows)) for rows in (keys, values))
        keys_, values_ = (int8_rows.dequantise(rows)[0].to(dtype) for rows in some)
        return keys_, values_
