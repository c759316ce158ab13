"""Attention of few queries over the rows of one sequence, split over programs that are joined by a second kernel.

How many rows there are is read on the device, so one captured launch serves every length and reads no row in vain.
Invariant: the number of programs depends on shapes alone.
"""

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl
from torch import Tensor

TOKENS = 64  # rows a program takes at once
LEAST_ROWS = 16  # of a matrix product in a kernel
# Triton's interpreter multiplies no bf16 matrices: there they go in as fp32, of the same values.
WIDE = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
PROGRAMS = 264  # two for each multiprocessor of a large card
MOST_SPLITS = 32


@triton.jit
def _product(left, right):
    """right: of the precision of the left, or codes."""
    if WIDE:
        return tl.dot(left.to(tl.float32), right.to(tl.float32), input_precision="ieee")
    return tl.dot(left, right.to(left.dtype), input_precision="ieee")


@triton.jit
def _part(
    queries, keys, values, largest, marks, sizes, places, partial, extent,
    new, heads, kv_heads, width, room, scale,
    SPLITS: tl.constexpr, IS_INT8: tl.constexpr, ROWS: tl.constexpr, TOKENS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    kv, split = tl.program_id(0), tl.program_id(1)
    shared = heads // kv_heads
    row = tl.arange(0, ROWS)  # token by token, of each the heads that share this key head
    at = tl.arange(0, BLOCK)
    is_row, inside = row < new * shared, at < width
    token = tl.minimum(row // shared, new - 1)
    sees = tl.load(places + token) + 1
    length = tl.load(places + new - 1) + 1
    head = kv * shared + row % shared
    query = queries + (token * heads + head)[:, None] * width + at[None, :]
    q = tl.load(query, mask=is_row[:, None] & inside[None, :], other=0.0)
    if IS_INT8:
        q = (q.to(tl.float32) * tl.load(sizes + kv * width + at, mask=inside, other=0.0)[None, :]).to(q.dtype)
    each = tl.cdiv(tl.cdiv(length, SPLITS), TOKENS) * TOKENS
    first = split * each
    last = tl.minimum(first + each, length)
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    low = tl.zeros((ROWS,), tl.float32)
    found = tl.zeros((ROWS, BLOCK), tl.float32)
    base = kv.to(tl.int64) * room
    for begin in range(first, last, TOKENS):
        t = begin + tl.arange(0, TOKENS)
        is_there = t < last
        tile = (base + t)[:, None] * width + at[None, :]
        mask = is_there[:, None] & inside[None, :]
        k = tl.load(keys + tile, mask=mask, other=0)
        scores = _product(q, tl.trans(k)) * scale
        if IS_INT8:
            scores *= tl.load(largest + base + t, mask=is_there, other=0.0).to(tl.float32)[None, :] / 127.0
        scores = tl.where((t[None, :] < sees[:, None]) & is_there[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        safe = tl.where(higher == float("-inf"), 0.0, higher)  # a row that sees nothing here
        shares = tl.exp(scores - safe[:, None])
        fade = tl.exp(top - safe)
        total = total * fade + tl.sum(shares, 1)
        v = tl.load(values + tile, mask=mask, other=0)
        if IS_INT8:
            step = tl.load(marks + base + t, mask=is_there, other=0.0)
            least = tl.load(marks + kv_heads.to(tl.int64) * room + base + t, mask=is_there, other=0.0)
            # Codes are taken from their middle: shares are rounded, which counts less where what they weigh is small.
            low = low * fade + tl.sum(shares * (least + 128.0 * step)[None, :], 1)
            shares *= step[None, :]
            v = tl.where(mask, v.to(tl.float32) - 128.0, 0.0)
        found = found * fade[:, None] + _product(shares.to(q.dtype), v)
        top = higher
    if IS_INT8:
        found += low[:, None]
    into = (token * heads + head) * SPLITS + split
    tl.store(partial + into[:, None] * width + at[None, :], found, mask=is_row[:, None] & inside[None, :])
    tl.store(extent + into * 2, top, mask=is_row)
    tl.store(extent + into * 2 + 1, total, mask=is_row)


@triton.jit
def _join(partial, extent, out, width, SPLITS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at, split = tl.arange(0, BLOCK), tl.arange(0, SPLITS)
    inside = at < width
    top = tl.load(extent + (row * SPLITS + split) * 2)
    total = tl.load(extent + (row * SPLITS + split) * 2 + 1)
    weight = tl.exp(top - tl.max(top, 0))
    parts = tl.load(partial + (row * SPLITS + split)[:, None] * width + at[None, :], mask=inside[None, :], other=0.0)
    found = tl.sum(parts * weight[:, None], 0) / tl.sum(total * weight, 0)
    tl.store(out + row * width + at, found.to(out.dtype.element_ty), mask=inside)


def attend(queries: Tensor, places: Tensor, buffers: tuple[Tensor, ...], sizes: Tensor | None, scale: float) -> Tensor:
    """queries: (new, heads, width), contiguous; places: (new,) int64, of the tokens, ascending; buffers: as `place`,
    then sizes: (key heads, 1, width) fp32 -> (new, heads * width)"""
    new, heads, width = queries.shape
    if sizes is None:
        (keys, values), largest, marks = buffers, queries, queries
    else:
        keys, largest, values, marks = buffers
    kv_heads, room = keys.shape[-3], keys.shape[-2]
    splits = splits_for(kv_heads, room)
    partial = torch.empty(new * heads, splits, width, dtype=torch.float32, device=queries.device)
    extent = torch.empty(new * heads, splits, 2, dtype=torch.float32, device=queries.device)
    out = torch.empty_like(queries)
    block = max(16, triton.next_power_of_2(width))
    _part[(kv_heads, splits)](
        queries, keys, values, largest, marks, queries if sizes is None else sizes, places, partial, extent,
        new, heads, kv_heads, width, room, scale,
        SPLITS=splits, IS_INT8=sizes is not None,
        ROWS=max(LEAST_ROWS, triton.next_power_of_2(new * heads // kv_heads)), TOKENS=TOKENS, BLOCK=block, num_warps=4,
    )  # fmt: skip
    _join[(new * heads,)](partial, extent, out, width, SPLITS=splits, BLOCK=block, num_warps=2)
    return out.view(new, -1)


def splits_for(kv_heads: int, room: int) -> int:
    """A power of two: enough programs for a card, none with less than one tile of a full buffer."""
    splits = 1
    while splits < MOST_SPLITS and splits * kv_heads < PROGRAMS and splits * TOKENS < room:
        splits *= 2
    return splits
