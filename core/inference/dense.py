"""A lean forward pass for dense decoders, on the module's own weights.

Owns the arithmetic of reading and stepping. Invariant: it computes what the transformers module computes (checked when
a model is loaded), operation by operation in the same order; with `is_exact` it rounds in the same places too.

Why not the module: a step through it costs as much time in Python, masks and cache copies as in the products. The
weights stay the module's own tensors, so what was mapped from the file stays mapped and nothing is held twice.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from core.inference.architectures import Layer, Parts, take_apart
from core.inference.attention import Arithmetic, causal_mask
from core.inference.decoder import KVKind
from core.inference.kv_cache import KVCache
from core.inference.kv_rows import plainly
from core.inference.native_step import NativeStep, Run, Unfit
from core.inference.positions import Positions, rotated

log = logging.getLogger("inference")

CHUNK = 512  # tokens read at once


class _Place(NamedTuple):
    """Where in the sequence the rows of a pass are: as positions.Tables, what they see, and how many there are then."""

    cos: Tensor
    sin: Tensor
    query_scale: Tensor | None
    mask: Tensor | None
    end: int


class DenseDecoder:
    """parts: what it computes with, by the adapter of a sequence. keeping: how keys and values of sequences to come are
    kept. dtype: of what goes from layer to layer. may_use_native: single tokens may go through native_step."""

    def __init__(self, model: Any, context_length: int, *, is_exact: bool) -> None:
        """is_exact: the same ids as transformers' generate, at the price of slower reading and attention on a CPU."""
        parts = take_apart(model, is_exact=is_exact)
        self.parts: dict[str, Parts] = {"": parts}
        self.layer_count = len(parts.layers)
        self.context_length = context_length
        self._heads, self._kv_heads, self._width = parts.heads, parts.kv_heads, parts.width
        self.dtype = parts.dtype
        self._device = parts.embedding.device
        self._is_exact = is_exact
        self._positions = Positions(parts.positions, self._device)
        self.arithmetic = Arithmetic.for_tensor(parts.embedding, is_exact=is_exact)
        self.keeping = plainly(self.arithmetic, context_length)
        self.may_use_native = self._device.type == "cpu" and not is_exact
        self._natives: dict[str, tuple[Parts, NativeStep | None]] = {}  # by adapter, made of these parts

    @property
    def kv_cache(self) -> KVKind:
        return self.keeping.kind

    @property
    def is_native(self) -> bool:
        """Single tokens go through native_step."""
        return self.may_use_native and any(native is not None for _, native in self._natives.values())

    def new_cache(self, total: int = 0, adapter: str = "") -> KVCache:
        alpha_for = self._positions.source.alpha_for
        return KVCache(self.keeping, self.layer_count, adapter=adapter, total=total, alpha_for=alpha_for)

    def read(self, ids: Sequence[int], cache: KVCache) -> Generator[None, None, Tensor]:
        """As Decoder.read; yields after every layer of every chunk."""
        parts = self.parts[cache.adapter]
        logits: Tensor | None = None
        # In the published int8 form a chunk shares its scales, and a prompt is one chunk.
        at_once = len(ids) if self.kv_cache == "int8_compatible" else self._at_once()
        for start in range(0, len(ids), at_once):
            chunk = ids[start : start + at_once]
            if (few := self._natively([(chunk, cache)], last_only=True)) is not None:
                logits = few[0]
                if start + at_once < len(ids):
                    yield
                continue
            x, place = self._begin(parts, chunk, cache)
            for index, layer in enumerate(parts.layers):
                x = self._pass(index, layer, x, cache, place)
                yield
            cache.advance(len(chunk))
            logits = self._logits(parts, x[-1:]) if start + at_once >= len(ids) else None
        assert logits is not None, "nothing to read"
        return logits

    @torch.inference_mode()
    def step(self, id: int, cache: KVCache) -> Tensor:
        if (logits := self._natively([([id], cache)])) is not None:
            return logits[0]
        parts = self.parts[cache.adapter]
        x, place = parts.embedding[id : id + 1].to(parts.dtype), self._place(cache, 1)
        for index, layer in enumerate(parts.layers):
            x = self._through(index, layer, x, cache, place)
        cache.advance(1)
        return self._logits(parts, x)

    def step_together(self, tokens: Sequence[tuple[int, KVCache]]) -> list[Tensor]:
        """`step` of one token of each of several sequences: each gets what it would get alone."""
        by_adapter: dict[str, list[int]] = {}
        for place, (_, cache) in enumerate(tokens):
            by_adapter.setdefault(cache.adapter, []).append(place)
        found: dict[int, Tensor] = {}
        for places in by_adapter.values():
            some = [tokens[place] for place in places]
            logits = self._natively([([id], cache) for id, cache in some])
            found |= zip(places, [self.step(*one) for one in some] if logits is None else logits, strict=True)
        return [found[place] for place in range(len(tokens))]

    @torch.inference_mode()
    def _natively(self, runs: Sequence[tuple[Sequence[int], KVCache]], *, last_only: bool = False) -> Tensor | None:
        """The logits after each token, or the very last, and the caches longer by their tokens; None where one of these
        caches, or the whole model, is not for native_step. All of them name the same adapter."""
        native = self._native_of(runs[0][1].adapter)
        if native is None or (last_only and len(runs[0][0]) > native.most_read):
            return None
        logits = native([self._run(ids, cache) for ids, cache in runs], last_only=last_only)
        if logits is not None:
            for ids, cache in runs:
                cache.length += len(ids)  # what is packed is settled already
        return logits

    def _run(self, ids: Sequence[int], cache: KVCache) -> Run:
        if not cache.length and not cache.is_packed:
            nothing = torch.empty(self._kv_heads, 0, self._width)
            for layer in range(self.layer_count):
                cache.write(layer, nothing, nothing)  # the rows learn their shape
        return Run(ids, cache, self._positions.rows(cache.length, cache.length + len(ids), cache.ntk_alpha))

    def _native_of(self, adapter: str) -> NativeStep | None:
        if not self.may_use_native:
            return None
        parts = self.parts[adapter]
        known, native = self._natives.get(adapter, (None, None))
        if known is not parts:
            native = self._made_native(parts)
            self._natives = {name: pair for name, pair in self._natives.items() if name in self.parts}
            self._natives[adapter] = (parts, native)
        return native

    def _made_native(self, parts: Parts) -> NativeStep | None:
        try:
            return NativeStep(parts, self.arithmetic.dtype)
        except Unfit as error:
            log.info("tokens are computed by torch: %s", error)
            return None

    def _at_once(self) -> int:
        return CHUNK

    def can_verify(self, cache: KVCache) -> bool:
        if self._is_exact or self.kv_cache != "plain":
            return False
        # Halves are rounded otherwise in products of several rows; native code gives each row what it gives it alone.
        return self._native_of(cache.adapter) is not None or self.dtype == torch.float32

    @torch.inference_mode()
    def verify(self, ids: Sequence[int], cache: KVCache) -> Tensor:
        if (logits := self._natively([(ids, cache)])) is not None:
            return logits
        if len(ids) == 1:
            return self.step(ids[0], cache)[None]
        parts = self.parts[cache.adapter]
        x, place = self._begin(parts, ids, cache)
        for index, layer in enumerate(parts.layers):
            x = self._through(index, layer, x, cache, place)
        cache.advance(len(ids))
        return parts.head(parts.final_norm(x))

    # --- one pass, x being (tokens, hidden) ---------------------------------------

    @torch.inference_mode()
    def _begin(self, parts: Parts, chunk: Sequence[int], cache: KVCache) -> tuple[Tensor, _Place]:
        """The embeddings, and where they are."""
        ids = torch.tensor(chunk, device=self._device)
        return parts.embedding[ids].to(parts.dtype), self._place(cache, len(chunk))

    @torch.inference_mode()
    def _pass(self, index: int, layer: Layer, x: Tensor, cache: KVCache, place: _Place) -> Tensor:
        # Inference mode must not stay on between two yields: others run then.
        return self._through(index, layer, x, cache, place)

    def _place(self, cache: KVCache, tokens: int) -> _Place:
        before, end = cache.length, cache.length + tokens
        tables = self._positions.rows(before, end, cache.ntk_alpha)
        return _Place(*tables, causal_mask(before, tokens, self._device), end)

    def _through(self, index: int, layer: Layer, x: Tensor, cache: KVCache, place: _Place) -> Tensor:
        heads, turned = self._heads, self._heads + self._kv_heads
        qkv = layer.qkv(layer.attention_norm(x)).view(x.shape[0], -1, self._width)
        qk, values = qkv[:, :turned], qkv[:, turned:]
        if layer.head_norm is not None:
            qk = layer.head_norm(qk)
        qk = rotated(qk, place.cos, place.sin)
        queries = qk[:, :heads]
        if place.query_scale is not None:
            queries = (queries * place.query_scale).to(qk.dtype)
        rows = cache.write(index, qk[:, heads:].transpose(0, 1), values.transpose(0, 1))
        x = x + layer.out(rows.attend(queries, place.end, place.mask))
        gate, up = layer.gate_up(layer.mlp_norm(x)).chunk(2, -1)
        return x + layer.down(F.silu(gate) * up)

    @torch.inference_mode()
    def _logits(self, parts: Parts, x: Tensor) -> Tensor:
        return parts.head(parts.final_norm(x))[0]
