"""The keys and values of several rows at once, as a cache of transformers.

Owns the memory of a batch. Invariant: a decode step writes its own tokens only; plain layers lie in buffers that grow
by doubling, every other kind of layer is transformers' own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicCache, DynamicLayer

from core.models.qwen_v1 import rotary
from core.models.qwen_v1.int8_cache import Int8Cache

FIRST_BUCKET = 256  # tokens


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Like DynamicLayer, which copies all keys and values to add one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_initialized = True
        self._length = 0
        self._buffers: tuple[Tensor, Tensor] | None = None  # (rows, heads, room, width)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        begin, end = self._length, self._length + key_states.shape[2]
        self._buffers = keys, values = self._roomy(key_states, end), self._roomy(value_states, end, is_value=True)
        keys[:, :, begin:end] = key_states
        values[:, :, begin:end] = value_states
        self._length = end
        return keys[:, :, :end], values[:, :, :end]

    def _roomy(self, new: Tensor, tokens: int, *, is_value: bool = False) -> Tensor:
        old = self._buffers[is_value] if self._buffers else None
        if old is not None and old.shape[2] >= tokens:
            return old
        room = FIRST_BUCKET
        while room < tokens:
            room *= 2
        grown = new.new_empty(*new.shape[:2], room, new.shape[3])
        if old is not None:
            grown[:, :, : self._length] = old[:, :, : self._length]
        return grown

    def get_seq_length(self) -> int:
        return self._length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        if self._buffers:
            keys, values = self._buffers
            rows = beam_idx.to(keys.device)
            self._buffers = keys.index_select(0, rows), values.index_select(0, rows)


def new_cache(config: Any, lengths: list[int]) -> Cache:
    """An empty cache for prompts of these lengths, padding not counted."""
    if getattr(config, "use_cache_quantization", False):
        cache: Cache = Int8Cache(config)
    else:
        cache = DynamicCache(config=config)
        cache.layers = [_RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    rotary.prefill_for(cache, lengths)  # other architectures than the first generation do not look at it
    return cache


def keep_rows(cache: Cache, rows: list[int]) -> None:
    """Let the other rows go."""
    cache.reorder_cache(torch.tensor(rows))  # type: ignore[arg-type]
    rotary.keep_rows(cache, rows)


def bytes_per_token(config: Any, precision: torch.dtype) -> int:
    """Of one row, in all layers; an upper bound where layers keep less than everything."""
    config = config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * precision.itemsize)
