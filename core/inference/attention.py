"""Attention of new queries over the rows of one sequence.

Owns which of torch's kernels is asked, and in which shape. Invariant: with `is_exact` it is asked as transformers asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from core.inference.products import FP32_ROWS, has_bf16_products


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """dtype: of the rows. reads_in_fp32: many queries at once are computed in fp32, and rounded back. packs_heads: the
    queries that share a key head are given as its rows: on a CPU five times faster than one by one."""

    dtype: torch.dtype
    reads_in_fp32: bool
    packs_heads: bool

    @classmethod
    def for_tensor(cls, some: Tensor, *, is_exact: bool) -> Arithmetic:
        """some: of the model, for its precision and device."""
        on_cpu, half = some.device.type == "cpu", some.dtype != torch.float32
        may_differ = on_cpu and not is_exact
        return cls(some.dtype, may_differ and half and not has_bf16_products(), may_differ)


def causal_mask(before: int, tokens: int, device: torch.device) -> Tensor | None:
    """What `tokens` queries after `before` rows see, (tokens, rows); None for all, or for the plain lower half."""
    if not before or tokens == 1:
        return None
    return torch.ones(tokens, before + tokens, dtype=torch.bool, device=device).tril(before)


def attend(
    how: Arithmetic, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float | None = None
) -> Tensor:
    """queries: (tokens, heads, width), keys and values: (1, kv_heads, length, width) -> (tokens, heads * width).

    mask: as causal_mask; scale: of the scores, None for 1 / sqrt(width)
    """
    if queries.shape[0] == 1:
        return _one(how, queries.to(keys.dtype), keys, values, scale).to(queries.dtype)
    turned = queries.transpose(0, 1)[None]
    if how.reads_in_fp32 and queries.shape[0] >= FP32_ROWS:
        seen = _many(turned.float(), keys.float(), values.float(), mask, scale).to(queries.dtype)
    else:
        seen = _many(turned.to(keys.dtype), keys, values, mask, scale).to(queries.dtype)
    return seen[0].transpose(0, 1).flatten(1)


def _one(how: Arithmetic, queries: Tensor, keys: Tensor, values: Tensor, scale: float | None) -> Tensor:
    kv_heads, width = keys.shape[1], queries.shape[-1]
    if not how.packs_heads:
        grouped = queries.view(1, -1, 1, width)
        return F.scaled_dot_product_attention(grouped, keys, values, scale=scale, enable_gqa=True).view(1, -1)
    packed = queries.view(1, kv_heads, -1, width)
    if packed.shape[2] > 1 or keys.dtype == torch.float32:
        return F.scaled_dot_product_attention(packed, keys, values, scale=scale).view(1, -1)
    # One half precision query for a head is the kernel's slowest way: asked twice, it takes less than half the time.
    twice = packed.expand(-1, -1, 2, -1)
    return F.scaled_dot_product_attention(twice, keys, values, scale=scale)[:, :, 0].reshape(1, -1)


def _many(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    return F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True
    )
