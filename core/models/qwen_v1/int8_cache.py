"""The published 8-bit cache as a cache of transformers, for generate() with `use_cache_quantization`.

Owns the layout. Invariant: every pass is a chunk of its own, with a scale of its own for each head, and attention reads
what was stored, also of the pass at hand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from core.models.qwen_v1.int8_rows import Rows, dequantise, quantise_chunk


class Int8Layer(CacheLayerMixin):
    """`key_rows` and `value_rows` hold (batch, heads, length, ...); `keys` and `values` of transformers stay unused."""

    is_croppable = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.key_rows: Rows | None = None
        self.value_rows: Rows | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        self.is_initialized = True
        self.key_rows = _after(self.key_rows, quantise_chunk(key_states))
        self.value_rows = _after(self.value_rows, quantise_chunk(value_states))
        return dequantise(self.key_rows), dequantise(self.value_rows)

    def get_seq_length(self) -> int:
        return 0 if self.key_rows is None else self.key_rows.levels.shape[2]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def reset(self) -> None:
        self.key_rows = self.value_rows = None
        self.is_initialized = False

    def crop(self, tokens_to_remove: int) -> None:
        """As DynamicLayer's: minus so many tokens."""
        if tokens_to_remove < 0:
            self._change(lambda part: part[:, :, :tokens_to_remove])

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._change(lambda part: part.index_select(0, beam_idx.to(part.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._change(lambda part: part.repeat_interleave(repeats, 0))

    def batch_select_indices(self, indices: Tensor) -> None:
        self._change(lambda part: part[indices])

    def _change(self, change: Any) -> None:
        if self.key_rows is not None and self.value_rows is not None:
            self.key_rows = Rows(*map(change, self.key_rows))
            self.value_rows = Rows(*map(change, self.value_rows))


def _after(rows: Rows | None, new: Rows) -> Rows:
    if rows is None:
        return new
    return Rows(*(torch.cat(parts, 2) for parts in zip(rows, new, strict=True)))


class Int8Cache(Cache):
    def __init__(self, config: Any) -> None:
        super().__init__(layers=[Int8Layer() for _ in range(config.num_hidden_layers)])
