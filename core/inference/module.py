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

from core.inference.attention import Arithmetic
from core.inference.decoder import KVKind
from core.inference.kv_cache import KVCache, never_stretched
from core.inference.kv_rows import plainly
from core.inference.module_attention import StoredRows
from core.models.qwen_v1 import rotary

CHUNK = 512  # tokens read at once
CPU_CHUNK = 64  # half precision products are slow on most CPUs, and a cancel waits for the chunk


class _BorrowedLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A layer of transformers' cache that keeps its rows in ours. hands_over: attention knows packed rows as such."""

    def __init__(self, cache: KVCache, index: int, *, hands_over: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cache, self._index, self._hands_over = cache, index, hands_over
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        rows, end = self._cache.write(self._index, key_states[0], value_states[0]), self._cache.length
        end += key_states.shape[2]
        if self._hands_over and self._cache.is_packed:
            stored = StoredRows(rows, end)
            return stored, stored
        return rows.plain(end)

    def get_seq_length(self) -> int:
        return self._cache.length


class ModuleCache:
    """Transformers' cache of one sequence, over our rows where its layers allow it (`rows`)."""

    def __init__(self, past: DynamicCache, rows: KVCache | None, adapter: str, *, hands_over: bool) -> None:
        self.past, self.rows, self.adapter = past, rows, adapter
        self._hands_over = hands_over
        self._length = 0
        if rows is not None:
            layers = range(len(past.layers))
            past.layers = [_BorrowedLayer(rows, index, hands_over=hands_over) for index in layers]

    @property
    def ntk_alpha(self) -> float:
        return 1.0 if self.rows is None else self.rows.ntk_alpha

    def serves(self, total: int) -> bool:
        return self.rows is None or self.rows.serves(total)

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
        past: Any = DynamicCache()
        past.layers = [DynamicLayer() for _ in self.past.layers]  # type: ignore[no-untyped-call]
        past.ntk_alphas = (self.ntk_alpha,)  # where a model of the first generation looks for it
        return ModuleCache(past, self.rows.fork(length), self.adapter, hands_over=self._hands_over)

    @property
    def size_bytes(self) -> int:
        if self.rows is not None:
            return self.rows.size_bytes
        tensors = [t for layer in self.past.layers for t in vars(layer).values() if isinstance(t, Tensor)]
        return sum(t.nbytes for t in tensors)


class ModuleDecoder:
    """use_adapter: called before every pass with the adapter of its sequence. layer_count: of the layers that keep
    plain keys and values; 0 where others are among them. keeping: how those of sequences to come are kept; hands_over:
    the attention of the module knows such rows."""

    use_adapter: Callable[[str], None] | None = None

    def __init__(self, model: Any, context_length: int, *, is_exact: bool = True) -> None:
        self.model = model
        self.context_length = context_length
        self._chunk = CPU_CHUNK if model.device.type == "cpu" else CHUNK
        self.arithmetic = Arithmetic.for_tensor(
            torch.empty(0, dtype=model.dtype, device=model.device), is_exact=is_exact
        )
        self.keeping, self.hands_over = plainly(self.arithmetic, context_length), False
        long_context = getattr(model.config, "long_context", None)  # of the first generation
        self._alpha_for = never_stretched if long_context is None else long_context.alpha
        layers = DynamicCache(config=model.config).layers
        self.layer_count = len(layers) if all(type(layer) is DynamicLayer for layer in layers) else 0

    @property
    def kv_cache(self) -> KVKind:
        return self.keeping.kind

    def new_cache(self, total: int = 0, adapter: str = "") -> ModuleCache:
        past, rows = DynamicCache(config=self.model.config), None
        if self.layer_count:
            rows = KVCache(self.keeping, self.layer_count, adapter=adapter, total=total, alpha_for=self._alpha_for)
            rotary.prefill_for(past, total)
        return ModuleCache(past, rows, adapter, hands_over=self.hands_over)

    def read(self, ids: Sequence[int], cache: ModuleCache) -> Generator[None, None, Tensor]:
        """As Decoder.read; yields after every chunk."""
        logits: Tensor | None = None
        # In the published int8 form a chunk shares its scales, and a prompt is one chunk.
        at_once = len(ids) if self.kv_cache == "int8_compatible" else self._chunk
        for start in range(0, len(ids), at_once):
            logits = self._forward(ids[start : start + at_once], cache)
            yield
        assert logits is not None, "nothing to read"
        return logits

    def step(self, id: int, cache: ModuleCache) -> Tensor:
        return self._forward([id], cache)

    @torch.inference_mode()
    def _forward(self, ids: Sequence[int], cache: ModuleCache) -> Tensor:
        if self.use_adapter is not None:
            self.use_adapter(cache.adapter)
        output = self.model(
            input_ids=torch.tensor([ids], device=self.model.device),
            past_key_values=cache.past,
            use_cache=True,
            logits_to_keep=1,
        )
        cache.advance(len(ids))
        logits: Tensor = output.logits[0, -1]
        return logits
