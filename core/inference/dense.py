"""A lean forward pass for the dense Llama, Qwen2 and Qwen3 architectures, on the module's own weights.

Owns the arithmetic of reading and stepping. Invariant: it computes what the transformers module computes (checked when
a model is loaded), operation by operation in the same order; with `is_exact` it rounds in the same places too.

Why not the module: a step through it costs as much time in Python, masks and cache copies as in the products. The
weights stay the module's own tensors, so what was mapped from the file stays mapped and nothing is held twice.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.inference.kv_cache import KVCache

ARCHITECTURES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
FIXED_ROPES = ("default", "linear", "llama3", "yarn")  # the others change with the length
CHUNK = 512  # tokens read at once
# From so many rows on, products in fp32 (weights converted on the way) beat bf16 on a CPU without bf16 instructions.
FP32_ROWS = 8
FIRST_POSITIONS = 1024  # of the rotary tables


def obstacle(model: Any) -> str:
    """Why this pass cannot stand in for the module; empty when it can. For the log."""
    config = model.config
    if type(model).__name__ not in ARCHITECTURES:
        return f"{type(model).__name__} is not one of {', '.join(ARCHITECTURES)}"
    if config.hidden_act != "silu":
        return f"activation {config.hidden_act}"
    if set(getattr(config, "layer_types", None) or ("full_attention",)) != {"full_attention"}:
        return "sliding attention"
    if model.model.rotary_emb.rope_type not in FIXED_ROPES:
        return f"rope {model.model.rotary_emb.rope_type}"
    linears = [module for name, module in model.named_modules() if name.endswith(("_proj", "lm_head"))]
    if any(type(module) is not nn.Linear for module in linears):
        return "weights that are not plain"
    return "" if len({module.weight.dtype for module in linears}) == 1 else "weights of several precisions"


Linear = tuple[Tensor, Tensor | None]  # weight, bias


@dataclass(frozen=True, slots=True)
class _Layer:
    attention_norm: Tensor
    q: Linear
    k: Linear
    v: Linear
    head_norm: Tensor | None  # (heads + kv_heads, head_dim), Qwen3 only
    out: Linear
    mlp_norm: Tensor
    gate: Linear
    up: Linear
    down: Linear


class _Place(NamedTuple):
    """Where in the sequence the rows of a pass are: their rotary tables, (tokens, 1, width), and what they see."""

    cos: Tensor
    sin: Tensor
    mask: Tensor | None


class DenseDecoder:
    def __init__(self, model: Any, context_length: int, *, is_exact: bool) -> None:
        """is_exact: the same ids as transformers' generate, at the price of slower reading and attention on a CPU."""
        config = model.config
        self._rotary = model.model.rotary_emb
        self._heads: int = config.num_attention_heads
        self._kv_heads: int = config.num_key_value_heads
        self._width: int = model.model.layers[0].self_attn.head_dim
        self._epsilon: float = config.rms_norm_eps
        self._context_length = context_length
        self._embedding: Tensor = model.model.embed_tokens.weight
        self._final_norm: Tensor = model.model.norm.weight
        self._head: Tensor = model.lm_head.weight
        with torch.inference_mode():
            self._layers = [_layer(module, self._heads, self._kv_heads) for module in model.model.layers]
        on_cpu = self._embedding.device.type == "cpu"
        half = self._embedding.dtype != torch.float32
        self._reads_in_fp32 = on_cpu and half and not is_exact and not has_bf16_products()
        self._packs_heads = on_cpu and not is_exact
        self._cos = self._sin = self._embedding.new_empty(0, 1, self._width)

    def new_cache(self, total: int = 0, adapter: str = "") -> KVCache:
        return KVCache(len(self._layers), self._context_length)

    def read(self, ids: Sequence[int], cache: KVCache) -> Generator[None, None, Tensor]:
        """As Decoder.read; yields after every layer of every chunk."""
        last: Tensor | None = None
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            x, place = self._begin(chunk, cache)
            for index in range(len(self._layers)):
                x = self._pass(index, x, cache, place)
                yield
            cache.advance(len(chunk))
            last = x[-1:]
        assert last is not None, "nothing to read"
        return self._logits(last)

    @torch.inference_mode()
    def step(self, id: int, cache: KVCache) -> Tensor:
        x, place = self._embedding[id : id + 1], self._place(cache.length, 1)
        for index in range(len(self._layers)):
            x = self._through(index, x, cache, place)
        cache.advance(1)
        return self._logits(x)

    # --- one pass, x being (tokens, hidden) ---------------------------------------

    @torch.inference_mode()
    def _begin(self, chunk: Sequence[int], cache: KVCache) -> tuple[Tensor, _Place]:
        """The embeddings, and where they are."""
        ids = torch.tensor(chunk, device=self._embedding.device)
        return self._embedding[ids], self._place(cache.length, len(chunk))

    @torch.inference_mode()
    def _pass(self, index: int, x: Tensor, cache: KVCache, place: _Place) -> Tensor:
        # Inference mode must not stay on between two yields: others run then.
        return self._through(index, x, cache, place)

    def _place(self, before: int, tokens: int) -> _Place:
        end = before + tokens
        self._need_positions(end)
        mask = None
        if before and tokens > 1:  # else all rows are seen, or the plain causal half of them
            mask = torch.ones(tokens, end, dtype=torch.bool, device=self._embedding.device).tril(before)
        return _Place(self._cos[before:end], self._sin[before:end], mask)

    def _through(self, index: int, x: Tensor, cache: KVCache, place: _Place) -> Tensor:
        layer, heads, tokens = self._layers[index], self._heads, x.shape[0]
        normed = self._norm(x, layer.attention_norm)
        qk = torch.cat((self._product(normed, layer.q), self._product(normed, layer.k)), -1)
        qk = qk.view(tokens, heads + self._kv_heads, self._width)
        if layer.head_norm is not None:
            qk = self._norm(qk, layer.head_norm)
        qk = self._rotate(qk, place)
        values = self._product(normed, layer.v).view(tokens, self._kv_heads, self._width)
        keys, values = cache.write(index, qk[:, heads:].transpose(0, 1), values.transpose(0, 1))
        x = x + self._product(self._attend(qk[:, :heads], keys, values, place.mask), layer.out)
        normed = self._norm(x, layer.mlp_norm)
        gated = F.silu(self._product(normed, layer.gate)) * self._product(normed, layer.up)
        return x + self._product(gated, layer.down)

    def _product(self, x: Tensor, linear: Linear) -> Tensor:
        weight, bias = linear
        if self._reads_in_fp32 and x.shape[0] >= FP32_ROWS:
            return F.linear(x.float(), weight.float(), None if bias is None else bias.float()).to(x.dtype)
        return F.linear(x, weight, bias)

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
    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(self._norm(x, self._final_norm), self._head)[0]

    def _need_positions(self, count: int) -> None:
        """The rotary tables, from the module itself, (positions, 1, width); they grow by doubling."""
        if count <= self._cos.shape[0]:
            return
        room = max(2 * self._cos.shape[0], FIRST_POSITIONS, count)
        positions = torch.arange(room, device=self._embedding.device)[None]
        cos, sin = self._rotary(self._embedding[:1], positions)
        self._cos, self._sin = cos[0][:, None], sin[0][:, None].clone()
        self._sin[..., : self._width // 2].neg_()


def _causal(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )


def _rows(seen: Tensor) -> Tensor:
    """(1, heads, tokens, width) -> (tokens, heads * width)"""
    return seen[0].transpose(0, 1).flatten(1)


def has_bf16_products() -> bool:
    """This CPU multiplies bf16 matrices at full speed."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _layer(module: Any, heads: int, kv_heads: int) -> _Layer:
    attention, mlp = module.self_attn, module.mlp
    return _Layer(
        attention_norm=module.input_layernorm.weight,
        q=_linear(attention.q_proj),
        k=_linear(attention.k_proj),
        v=_linear(attention.v_proj),
        head_norm=_head_norm(attention, heads, kv_heads),
        out=_linear(attention.o_proj),
        mlp_norm=module.post_attention_layernorm.weight,
        gate=_linear(mlp.gate_proj),
        up=_linear(mlp.up_proj),
        down=_linear(mlp.down_proj),
    )


def _linear(module: nn.Linear) -> Linear:
    return module.weight, module.bias


def _head_norm(attention: Any, heads: int, kv_heads: int) -> Tensor | None:
    if not hasattr(attention, "q_norm"):
        return None
    q, k = attention.q_norm.weight, attention.k_norm.weight
    return torch.cat((q.expand(heads, -1), k.expand(kv_heads, -1)))
