"""Attention over rows that lie one after the other: each sees itself alone, as if it were there by itself.

Owns the name PACKED among transformers' attention functions. Invariant: within `rows_of` every attention of the model
is over those rows; outside of it the model attends as always.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

PACKED = "packed_rows"
_lengths: list[int] = []


@contextmanager
def rows_of(lengths: Sequence[int]) -> Iterator[None]:
    """lengths: tokens of each row of a pass; forward and backward belong inside, since layers may be computed again."""
    _lengths[:] = lengths
    try:
        yield
    finally:
        _lengths.clear()


def attend_packed(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any,
    dropout: float = 0.0, scaling: float | None = None, sliding_window: int | None = None, **kwargs: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """query, key, value: (1, heads, tokens, width), keys with heads of their own -> (1, tokens, heads, width)"""
    if not _lengths:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return found
    shared = query.shape[1] != key.shape[1]
    queries, keys, values = (torch.split(part, _lengths, 2) for part in (query, key, value))
    seen = [
        _attend(q, k, v, dropout, scaling, sliding_window, shared)
        for q, k, v in zip(queries, keys, values, strict=True)
    ]
    return (seen[0] if len(seen) == 1 else torch.cat(seen, 2)).transpose(1, 2), None


def _attend(
    query: Tensor, key: Tensor, value: Tensor, dropout: float, scale: float | None, window: int | None, shared: bool
) -> Tensor:
    tokens = query.shape[2]
    mask = None
    if window and tokens > window:
        mask = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril().triu(1 - window)
    return F.scaled_dot_product_attention(
        query, key, value, mask, dropout, is_causal=mask is None, scale=scale, enable_gqa=shared
    )


def _no_mask(*args: Any, **kwargs: Any) -> Any:
    """None among packed rows, else what SDPA gets."""
    return None if _lengths else ALL_MASK_ATTENTION_FUNCTIONS["sdpa"](*args, **kwargs)


AttentionInterface.register(PACKED, attend_packed)
AttentionMaskInterface.register(PACKED, _no_mask)
