"""Single tokens through a dense decoder in one call of our own C++ code, on the tensors the lean pass computes with.

Owns what that code is told of a model. Invariant: it computes what DenseDecoder.step computes, with every sum in fp32;
where it cannot take a model or a cache, the lean pass does, and nothing else changes.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.inference.adapted_products import Adapted, Rows
from core.inference.architectures import Layer, Parts
from core.inference.kv_cache import KVCache
from core.inference.norms import AnyNorm, WideNorm
from core.inference.positions import Tables
from core.inference.products import Joined, Plain, Product, Quantised
from core.models.native import structures
from core.models.native.library import library
from core.models.native.packed import TILE, Native
from core.models.quantised.linear import QuantisedLinear

KINDS = {torch.bfloat16: structures.BF16, torch.float16: structures.F16, torch.float32: structures.F32}
LANES = 16
WIDEST_HEAD = 512
# Tokens of a prompt at once up to which this is the faster way: by quantised weights as long as the many calls of torch
# cost more than its better attention saves, by plain ones while a product is bound by reading them.
READ, READ_PLAIN = 128, 8


class Unfit(Exception):
    """args[0]: what of the model the native step does not take."""


class Run(NamedTuple):
    """Tokens to be computed, one after the other in one sequence: their ids and the tables of their positions, which
    begin at the length of the cache."""

    ids: Sequence[int]
    cache: KVCache
    at: Tables


class NativeStep:
    """most_read: tokens of one sequence at once, above which torch is faster."""

    def __init__(self, parts: Parts, rows: torch.dtype) -> None:
        """parts: on the processor; rows: the precision of keys and values where they are plain.

        Raises:
            Unfit
        """
        found = library()
        if found is None:
            raise Unfit("there is no native library")
        if parts.width % LANES or parts.width > WIDEST_HEAD or rows not in KINDS or isinstance(parts.embedding, Rows):
            raise Unfit(f"heads of {parts.width}, rows of {rows}, or an adapter that changes embeddings")
        if torch.float16 in (rows, parts.dtype) and not found.qw_has_f16():
            raise Unfit("this compiler knows no float16")
        self._step = found.qw_step
        self.most_read = READ
        self._kept: list[Any] = []  # tensors of our own that the structures point to
        self._layers = (structures.Layer * len(parts.layers))(*(self._layer(layer) for layer in parts.layers))
        [head] = self._linears(parts.head, 1)
        final_norm, least = self._norm(parts.final_norm)
        hidden, inner = parts.embedding.shape[1], _inner(parts.layers[0])
        self._model = structures.Model(
            ctypes.addressof(self._layers), final_norm, head, len(parts.layers), hidden, inner, parts.heads,
            parts.kv_heads, parts.width, 1, least, self._head_least(parts.layers[0]),
        )  # fmt: skip
        self._embedding, self._vocabulary = parts.embedding, int(head.outputs)

    def __call__(self, runs: Sequence[Run], *, last_only: bool = False) -> Tensor | None:
        """The logits after each token, or after the very last, (tokens, vocabulary), all rows written; None where one
        of the caches cannot be read."""
        kept = [found for run in runs if (found := _rows_of(run)) is not None]
        if len(kept) < len(runs):
            return None
        ids = [id for run in runs for id in run.ids]
        x = self._embedding[ids].to(torch.float32, copy=True)
        places, tables = (structures.Place * len(ids))(), []
        at = 0
        for run, (caches, kind) in zip(runs, kept, strict=True):
            cos, sin = run.at.cos.float().contiguous(), run.at.sin.float().contiguous()
            scales = [1.0] * len(run.ids) if run.at.query_scale is None else run.at.query_scale.flatten().tolist()
            tables.append((cos, sin))
            row = cos[0].nbytes
            for number, scale in enumerate(scales):
                place = places[at]
                place.caches, place.query_scale = ctypes.addressof(caches), scale
                place.cos, place.sin = cos.data_ptr() + number * row, sin.data_ptr() + number * row
                place.position, place.rows_kind = run.cache.length + number, kind
                at += 1
        wanted = 1 if last_only else len(ids)
        logits = torch.empty(wanted, self._vocabulary)
        self._model.threads = torch.get_num_threads()
        model = ctypes.addressof(self._model)
        self._step(model, ctypes.addressof(places), len(ids), x.data_ptr(), logits.data_ptr(), wanted)
        return logits

    # --- what the model consists of ---------------------------------------------------

    def _layer(self, layer: Layer) -> structures.Layer:
        joined = structures.Linear * structures.MOST_JOINED
        gate_up = self._linears(layer.gate_up, 2)
        if len(gate_up) == 1 and gate_up[0].outputs % (2 * TILE):
            raise Unfit(f"gate and up of {gate_up[0].outputs} outputs in one")
        attention_norm, _ = self._norm(layer.attention_norm)
        mlp_norm, _ = self._norm(layer.mlp_norm)
        head_norm = 0 if layer.head_norm is None else self._norm(layer.head_norm)[0]
        [out], [down] = self._linears(layer.out, 1), self._linears(layer.down, 1)
        qkv = joined(*self._linears(layer.qkv, structures.MOST_JOINED))
        return structures.Layer(qkv, joined(*gate_up), out, down, attention_norm, mlp_norm, head_norm)

    def _linears(self, product: Product, most: int) -> list[structures.Linear]:
        adapted = product if isinstance(product, Adapted) else None
        base = product if adapted is None else adapted.base
        parts = base.products if isinstance(base, Joined) else (base,)
        if len(parts) > most:
            raise Unfit(f"{len(parts)} products of one input")
        linears = [self._linear(part) for part in parts]
        if adapted is not None:
            self._adapt(linears, adapted)
        return linears

    def _linear(self, product: Product) -> structures.Linear:
        if isinstance(product, Quantised) and isinstance(product.module, QuantisedLinear):
            return self._quantised(product.module)
        if isinstance(product, Plain) and product.weight.dtype in KINDS and product.weight.is_contiguous():
            outputs, inputs = product.weight.shape
            kind, self.most_read = KINDS[product.weight.dtype], READ_PLAIN
            at, bias = self._pointer(product.weight), self._bias(product.bias)
            return structures.Linear(at, bias=bias, outputs=outputs, inputs=inputs, groups=1, kind=kind)
        raise Unfit(f"a product of the kind {type(product).__name__}")

    def _quantised(self, layer: QuantisedLinear) -> structures.Linear:
        native = layer.product
        if not isinstance(native, Native) or not native.is_in_order:
            raise Unfit(f"{native.name} in place of the native product, or inputs in another order")
        linear = structures.Linear.from_buffer_copy(native.linear)
        linear.bias = self._bias(layer.bias)
        self._kept.append(native)
        return linear

    def _adapt(self, linears: list[structures.Linear], adapted: Adapted) -> None:
        """Each of the linear maps gets the pieces of the adapter that are for its outputs."""
        if not adapted.is_low_rank or adapted.a is None:
            raise Unfit("an adapter of another kind than two factors")
        begin, low = 0, adapted.a.shape[0]
        for linear in linears:
            end = begin + linear.outputs
            found = [
                structures.Piece(self._float(b), at - begin, width, first, rank)
                for at, width, first, rank, b in adapted.pieces
                if begin <= at < end
            ]
            pieces = (structures.Piece * len(found))(*found)
            self._kept.append(pieces)
            linear.a, linear.low = self._float(adapted.a), low
            linear.pieces, linear.piece_count = ctypes.addressof(pieces), len(found)
            begin = end

    def _bias(self, bias: Tensor | None) -> int:
        if bias is None:
            return 0
        padded = torch.zeros(-(-bias.shape[0] // TILE) * TILE)
        padded[: bias.shape[0]] = bias
        return self._pointer(padded)

    def _norm(self, norm: AnyNorm) -> tuple[int, float]:
        """Where its enlarged weight is, and what is added to the square of the length."""
        width = norm.weight.shape[-1]
        weight = norm.weight if isinstance(norm, WideNorm) else norm.weight.float() * math.sqrt(width)
        return self._pointer(weight.contiguous()), width * norm.epsilon

    def _head_least(self, layer: Layer) -> float:
        return 0.0 if layer.head_norm is None else layer.head_norm.weight.shape[-1] * layer.head_norm.epsilon

    def _float(self, tensor: Tensor) -> int:
        """Where it is in fp32: the tensor itself where it is that already."""
        return self._pointer(tensor.float().contiguous())

    def _pointer(self, tensor: Tensor) -> int:
        self._kept.append(tensor)
        return tensor.data_ptr()


def _inner(layer: Layer) -> int:
    return sum(part.width for part in layer.gate_up.parts) // 2


def _rows_of(run: Run) -> tuple[Any, int] | None:
    """Where the rows of all layers are, with room for the new ones, and their kind; None where they cannot be read."""
    cache = run.cache
    buffers = cache.buffers(cache.length + len(run.ids))
    if buffers is None:
        return None
    if cache.native_places is None or cache.native_places[0] is not buffers:
        found = [_place(*parts) for parts in buffers]
        kind = KINDS.get(buffers[0][0].dtype, structures.INT8)
        cache.native_places = (buffers, ((structures.Cache * len(found))(*found), kind))
    places: tuple[Any, int] = cache.native_places[1]
    return places


def _place(keys: Tensor, values: Tensor, marks: Tensor | None = None, sizes: Tensor | None = None) -> structures.Cache:
    at = [0 if part is None else part.data_ptr() for part in (keys, values, marks, sizes)]
    return structures.Cache(*at, keys.shape[-2])
