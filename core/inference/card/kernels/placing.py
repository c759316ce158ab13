"""From the joined projection of a step to queries that attend and rows in their buffers, one program a token and head.

Does the norms of heads (Qwen3), rotary positions, LogN's scale of queries, and the write of keys and values, rounded to
8 bits where they are kept so. Invariant: it rounds where the plain operations round.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

ROUNDER = tl.constexpr(12582912.0)  # 1.5 * 2 ** 23: adding it leaves an fp32 no bits after the point


@triton.jit
def _normed(x, gain, at, inside, head, width, epsilon, dtype: tl.constexpr, HAS_NORM: tl.constexpr):
    """A row of elements at `at`, normed over the whole row; x points at the row."""
    wide = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if HAS_NORM:
        scale = 1.0 / tl.sqrt(tl.sum(wide * wide, 0) / width + epsilon)
        weight = tl.load(gain + head * width + at, mask=inside, other=0.0).to(tl.float32)
        wide = ((wide * scale).to(dtype).to(tl.float32) * weight).to(dtype).to(tl.float32)
    return wide


@triton.jit
def _whole(x):
    return (x + ROUNDER) - ROUNDER


@triton.jit
def _place(
    qkv, gain, cos, sin, query_scale, places, queries, keys, values, largest, marks, inverse,
    heads, kv_heads, width, room, epsilon,
    HAS_NORM: tl.constexpr, HAS_SCALE: tl.constexpr, IS_INT8: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token, head = tl.program_id(0), tl.program_id(1)
    dtype = qkv.dtype.element_ty
    at = tl.arange(0, BLOCK)
    inside = at < width
    row = qkv + (token * (heads + 2 * kv_heads) + head).to(tl.int64) * width
    place = tl.load(places + token)
    if head < heads + kv_heads:
        other = (at + width // 2) % width
        mine = _normed(row, gain, at, inside, head, width, epsilon, dtype, HAS_NORM)
        partner = _normed(row, gain, other, inside, head, width, epsilon, dtype, HAS_NORM)
        table = cos.dtype.element_ty
        by_cos = mine * tl.load(cos + token * width + at, mask=inside, other=0.0).to(tl.float32)
        by_sin = partner * tl.load(sin + token * width + at, mask=inside, other=0.0).to(tl.float32)
        turned = by_cos.to(table).to(tl.float32) + by_sin.to(table).to(tl.float32)
        turned = turned.to(table).to(dtype).to(tl.float32)
        if head < heads:
            if HAS_SCALE:
                turned *= tl.load(query_scale + token).to(tl.float32)
            tl.store(queries + (token * heads + head).to(tl.int64) * width + at, turned.to(dtype), mask=inside)
        else:
            kv = head - heads
            into = (kv.to(tl.int64) * room + place) * width + at
            if IS_INT8:
                even = turned * tl.load(inverse + kv * width + at, mask=inside, other=0.0).to(tl.float32)
                most = tl.maximum(tl.max(tl.abs(even), 0), 1e-12).to(tl.bfloat16)
                codes = _whole(even * 127.0 / most.to(tl.float32))
                codes = tl.minimum(tl.maximum(codes, -127.0), 127.0)
                tl.store(keys + into, codes.to(tl.int8), mask=inside)
                tl.store(largest + kv.to(tl.int64) * room + place, most)
            else:
                tl.store(keys + into, turned.to(keys.dtype.element_ty), mask=inside)
    else:
        kv = head - heads - kv_heads
        into = (kv.to(tl.int64) * room + place) * width + at
        wide = tl.load(row + at, mask=inside, other=0.0).to(tl.float32)
        if IS_INT8:
            low = tl.min(tl.where(inside, wide, float("inf")), 0)
            high = tl.max(tl.where(inside, wide, float("-inf")), 0)
            codes = _whole((wide - low) * (255.0 / (high - low + 1e-8)))
            tl.store(values + into, codes.to(tl.uint8), mask=inside)
            mark = kv.to(tl.int64) * room + place
            tl.store(marks + mark, (high - low) / 255.0)
            tl.store(marks + kv_heads.to(tl.int64) * room + mark, low)
        else:
            tl.store(values + into, wide.to(values.dtype.element_ty), mask=inside)


def place(
    qkv: Tensor,
    heads: int,
    norm: tuple[Tensor, float] | None,
    cos: Tensor,
    sin: Tensor,
    query_scale: Tensor | None,
    places: Tensor,
    buffers: tuple[Tensor, ...],
    inverse: Tensor | None,
) -> Tensor:
    """qkv: (new, all heads, width), contiguous; norm: weights (heads + key heads, width) and epsilon; buffers: keys and
    values, (key heads, room, width), or the four of StaticInt8Rows, then inverse: (key heads, 1, width)."""
    new, every, width = qkv.shape
    kv_heads = (every - heads) // 2
    queries = qkv.new_empty(new, heads, width)
    if inverse is None:
        (keys, values), largest, marks = buffers, qkv, qkv
    else:
        keys, largest, values, marks = buffers
    gain, epsilon = norm or (qkv, 0.0)
    _place[(new, every)](
        qkv, gain, cos, sin, qkv if query_scale is None else query_scale, places, queries,
        keys, values, largest, marks, qkv if inverse is None else inverse,
        heads, kv_heads, width, keys.shape[-2], epsilon,
        HAS_NORM=norm is not None, HAS_SCALE=query_scale is not None, IS_INT8=inverse is not None,
        BLOCK=triton.next_power_of_2(width), num_warps=1,
    )  # fmt: skip
    return queries
