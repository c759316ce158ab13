"""Attention of transformers' modules over rows that are kept in our own form.

Owns the entry of that name among transformers' attention functions. Invariant: what comes as tensors is computed as
transformers' own "sdpa" computes it, so a model that is set to it serves everybody else as before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from core.inference.attention import causal_mask
from core.inference.kv_rows import LayerRows

NAME = "sdpa_over_rows"


class StoredRows(NamedTuple):
    """What a cache hands to attention instead of keys and of values: the first `end` rows of a layer."""

    rows: LayerRows
    end: int


def forward(
    module: nn.Module, query: Tensor, key: Tensor | StoredRows, value: Any, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """query: (batch, heads, tokens, width) -> (batch, tokens, heads, width)"""
    if isinstance(key, StoredRows):
        tokens = query.shape[2]
        mask = causal_mask(key.end - tokens, tokens, query.device)
        if attention_mask is not None and mask is not None:
            mask = attention_mask[0, 0, :, : key.end]
        seen = key.rows.attend(query[0].transpose(0, 1), key.end, mask, kwargs.get("scaling"))
        return seen.view(1, tokens, query.shape[1], -1), None
    found: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0]
    return found, None


def take_over(model: Any) -> bool:
    """Have the model's attention understand StoredRows; False where it cannot, or was asked for another kind."""
    if model.config._attn_implementation == NAME:
        return True
    if model.config._attn_implementation != "sdpa" or not getattr(model, "_supports_attention_backend", False):
        return False
    model.set_attn_implementation(NAME)
    return True


def give_back(model: Any) -> None:
    if model.config._attn_implementation == NAME:
        model.set_attn_implementation("sdpa")


ALL_ATTENTION_FUNCTIONS.register(NAME, forward)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
