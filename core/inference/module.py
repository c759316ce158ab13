"""Decoding through the transformers module itself, for every architecture without a pass of its own.

Owns the bridge from transformers' cache to ours. Invariant: where all layers keep plain keys and values they lie in a
KVCache; any other kind of cache (sliding, recurrent) stays transformers' own and cannot be cropped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from core.inference.kv_cache import KVCache

CHUNK = 512  # tokens read at once
CPU_CHUNK = 64  # half precision products are slow on most CPUs, and a cancel waits for the chunk


class _BorrowedLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A layer of transformers' cache that keeps its rows in ours."""

    def __init__(self, rows: KVCache, index: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows, self._index = rows, index
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return self._rows.write(self._index, key_states[0], value_states[0])

    def get_seq_length(self) -> int:
        return self._rows.length


class ModuleCache:
    """Transformers' cache of one sequence, over our rows where its layers allow it."""

    def __init__(self, config: Any, context_length: int, adapter: str = "") -> None:
        self.adapter = adapter
        self._config, self._context_length = config, context_length
        self.past = DynamicCache(config=config)
        self.rows: KVCache | None = None
        if all(type(layer) is DynamicLayer for layer in self.past.layers):
            self._borrow(KVCache(len(self.past.layers), context_length))
        self._length = 0

    def serves(self, total: int) -> bool:
        return True

    def _borrow(self, rows: KVCache) -> None:
        self.rows = rows
        self.past.layers = [_BorrowedLayer(rows, index) for index in range(len(self.past.layers))]

    @property
    def can_crop(self) -> bool:
        return self.rows is not None

    @property
    def length(self) -> int:
        return self._length if self.rows is None else self.rows.length

    def advance(self, tokens: int) -> None:
        self._length += tokens
        if self.rows is not None:
            self.rows.advance(tokens)

    def crop(self, length: int) -> None:
        if self.rows is not None:
            self.rows.crop(length)
        elif length < self.length:
            raise ValueError("this cache cannot go back")

    def fork(self, length: int) -> ModuleCache:
        if self.rows is None:
            raise ValueError("this cache cannot be forked")
        copy = ModuleCache(self._config, self._context_length, self.adapter)
        copy._borrow(self.rows.fork(length))
        return copy

    @property
    def size_bytes(self) -> int:
        if self.rows is not None:
            return self.rows.size_bytes
        tensors = [t for layer in self.past.layers for t in vars(layer).values() if isinstance(t, Tensor)]
        return sum(t.numel() * t.element_size() for t in tensors)


class ModuleDecoder:
    """use_adapter: called before every pass with the adapter of its sequence."""

    use_adapter: Callable[[str], None] | None = None

    def __init__(self, model: Any, context_length: int) -> None:
        self._model = model
        self._context_length = context_length
        self._chunk = CPU_CHUNK if model.device.type == "cpu" else CHUNK

    def new_cache(self, total: int = 0, adapter: str = "") -> ModuleCache:
        return ModuleCache(self._model.config, self._context_length, adapter)

    def read(self, ids: Sequence[int], cache: ModuleCache) -> Generator[None, None, Tensor]:
        """As Decoder.read; yields after every chunk."""
        logits: Tensor | None = None
        for start in range(0, len(ids), self._chunk):
            logits = self._forward(ids[start : start + self._chunk], cache)
            yield
        assert logits is not None, "nothing to read"
        return logits

    def step(self, id: int, cache: ModuleCache) -> Tensor:
        return self._forward([id], cache)

    @torch.inference_mode()
    def _forward(self, ids: Sequence[int], cache: ModuleCache) -> Tensor:
        if self.use_adapter is not None:
            self.use_adapter(cache.adapter)
        output = self._model(
            input_ids=torch.tensor([ids], device=self._model.device),
            past_key_values=cache.past,
            use_cache=True,
            logits_to_keep=1,
        )
        cache.advance(len(ids))
        logits: Tensor = output.logits[0, -1]
        return logits
