"""A lean forward pass for dense decoders, on the module's own weights.

Owns the arithmetic of reading and stepping. Invariant: it computes what the transformers module computes (checked when
a model is loaded), operation by operation in the same order; with `is_exact` it rounds in the same places too.

Why not the module: a step through it costs as much time in Python, masks and cache copies as in the products. The
weights stay the module's own tensors, so what was mapped from the file stays mapped and nothing is held twice.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from core.inference.architectures import Layer, Parts, take_apart
from core.inference.kv_cache import KVCache
from core.inference.products import FP32_ROWS, has_bf16_products

CHUNK = 512  # tokens read at once
FIRST_POSITIONS = 1024  # of the rotary tables


class _Place(NamedTuple):
    """Where in the sequence the rows of a pass are: their rotary tables, (tokens, 1, width), and what they see."""

    cos: Tensor
    sin: Tensor
    mask: Tensor | None


class DenseDecoder:
    """parts: what it computes with, by the adapter of a sequence."""

    def __init__(self, model: Any, context_length: int, *, is_exact: bool) -> None:
        """is_exact: the same ids as transformers' generate, at the price of slower reading and attention on a CPU."""
        parts = take_apart(model, is_exact=is_exact)
        self.parts: dict[str, Parts] = {"": parts}
        self._heads, self._kv_heads, self._width = parts.heads, parts.kv_heads, parts.width
        self._rotary, self._epsilon = parts.rotary, parts.epsilon
        self._context_length = context_length
        self._some = parts.embedding[:1]
        on_cpu, half = self._some.device.type == "cpu", self._some.dtype != torch.float32
        self._reads_in_fp32 = on_cpu and half and not is_exact and not has_bf16_products()
        self._packs_heads = on_cpu and not is_exact
        self._cos = self._sin = self._some.new_empty(0, 1, self._width)

    def new_cache(self, total: int = 0, adapter: str = "") -> KVCache:
        return KVCache(len(self.parts[""].layers), self._context_length, adapter)

    def read(self, ids: Sequence[int], cache: KVCache) -> Generator[None, None, Tensor]:
        """As Decoder.read; yields after every layer of every chunk."""
        parts = self.parts[cache.adapter]
        last: Tensor | None = None
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            x, place = self._begin(parts, chunk, cache)
            for index, layer in enumerate(parts.layers):
                x = self._pass(index, layer, x, cache, place)
                yield
            cache.advance(len(chunk))
            last = x[-1:]
        assert last is not None, "nothing to read"
        return self._logits(parts, last)

    @torch.inference_mode()
    def step(self, id: int, cache: KVCache) -> Tensor:
        parts = self.parts[cache.adapter]
        x, place = parts.embedding[id : id + 1], self._place(cache.length, 1)
        for index, layer in enumerate(parts.layers):
            x = self._through(index, layer, x, cache, place)
        cache.advance(1)
        return self._logits(parts, x)

    # --- one pass, x being (tokens, hidden) ---------------------------------------

    @torch.inference_mode()
    def _begin(self, parts: Parts, chunk: Sequence[int], cache: KVCache) -> tuple[Tensor, _Place]:
        """The embeddings, and where they are."""
        ids = torch.tensor(chunk, device=self._some.device)
        return parts.embedding[ids], self._place(cache.length, len(chunk))

    @torch.inference_mode()
    def _pass(self, index: int, layer: Layer, x: Tensor, cache: KVCache, place: _Place) -> Tensor:
        # Inference mode must not stay on between two yields: others run then.
        return self._through(index, layer, x, cache, place)

    def _place(self, before: int, tokens: int) -> _Place:
        end = before + tokens
        self._need_positions(end)
        mask = None
        if before and tokens > 1:  # else all rows are seen, or the plain causal half of them
            mask = torch.ones(tokens, end, dtype=torch.bool, device=self._some.device).tril(before)
        return _Place(self._cos[before:end], self._sin[before:end], mask)

    def _through(self, index: int, layer: Layer, x: Tensor, cache: KVCache, place: _Place) -> Tensor:
        heads, turned = self._heads, self._heads + self._kv_heads
        qkv = layer.qkv(self._norm(x, layer.attention_norm)).view(x.shape[0], -1, self._width)
        qk, values = qkv[:, :turned], qkv[:, turned:]
        if layer.head_norm is not None:
            qk = self._norm(qk, layer.head_norm)
        qk = self._rotate(qk, place)
        keys, values = cache.write(index, qk[:, heads:].transpose(0, 1), values.transpose(0, 1))
        x = x + layer.out(self._attend(qk[:, :heads], keys, values, place.mask))
        gate, up = layer.gate_up(self._norm(x, layer.mlp_norm)).chunk(2, -1)
        return x + layer.down(F.silu(gate) * up)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        # F.rms_norm is slower on a CPU and rounds once less than the module.
        wide = x.float()
        scale = (wide * wide).mean(-1, True).add_(self._epsilon).rsqrt_()
        return weight * (wide * scale).type_as(x)

    def _rotate(self, qk: Tensor, place: _Place) -> Tensor:
        """Rotary embedding of queries and keys at once; the sign of the turned half lies in the sine table."""
        return (qk * place.cos).add_(qk.roll(self._width // 2, -1).mul_(place.sin))

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """queries: (tokens, heads, width), keys and values: (1, kv_heads, length, width)."""
        tokens = queries.shape[0]
        if tokens == 1:
            # Packed, the queries that share a key head are its rows: five times faster on a CPU than one by one.
            shape = (1, self._kv_heads if self._packs_heads else self._heads, -1, self._width)
            seen = F.scaled_dot_product_attention(queries.view(shape), keys, values, enable_gqa=not self._packs_heads)
            return seen.view(1, -1)
        queries = queries.transpose(0, 1)[None]
        if self._reads_in_fp32 and tokens >= FP32_ROWS:
            wide = _causal(queries.float(), keys.float(), values.float(), mask)
            return _rows(wide.to(queries.dtype))
        return _rows(_causal(queries, keys, values, mask))

    @torch.inference_mode()
    def _logits(self, parts: Parts, x: Tensor) -> Tensor:
        return parts.head(self._norm(x, parts.final_norm))[0]

    def _need_positions(self, count: int) -> None:
        """The rotary tables, from the module itself, (positions, 1, width); they grow by doubling."""
        if count <= self._cos.shape[0]:
            return
        room = max(2 * self._cos.shape[0], FIRST_POSITIONS, count)
        positions = torch.arange(room, device=self._some.device)[None]
        cos, sin = self._rotary(self._some, positions)
        self._cos, self._sin = cos[0][:, None], sin[0][:, None].clone()
        self._sin[..., : self._width // 2].neg_()


def _causal(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )


def _rows(seen: Tensor) -> Tensor:
    """(1, heads, tokens, width) -> (tokens, heads * width)"""
    return seen[0].transpose(0, 1).flatten(1)
