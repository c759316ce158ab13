"""Dense decoders taken apart: which module of which architecture is which part of a layer.

Owns the names of modules. Invariant: what is found here is all the lean pass knows of an architecture; a model with
anything else in it is refused by `obstacle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.inference.norms import AnyNorm, Norm, WideNorm
from core.inference.positions import FirstGeneration, Rotary, Source
from core.inference.products import Joined, Product, fused, has_bf16_products, is_known, is_quantised, product

FIXED_ROPES = ("default", "linear", "llama3", "yarn")  # the others change with the length


@dataclass(frozen=True, slots=True)
class _Names:
    """Of the modules: those of a layer are within the layer."""

    body: str = "model"
    layers: str = "layers"
    embedding: str = "embed_tokens"
    final_norm: str = "norm"
    attention: str = "self_attn"
    attention_norm: str = "input_layernorm"
    qkv: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    out: str = "self_attn.o_proj"
    mlp_norm: str = "post_attention_layernorm"
    gate_up: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    down: str = "mlp.down_proj"
    epsilon: str = "rms_norm_eps"  # in the config


_LLAMA = _Names()
_FIRST_GENERATION = _Names(
    body="transformer", layers="h", embedding="wte", final_norm="ln_f", attention="attn", attention_norm="ln_1",
    qkv=("attn.c_attn",), out="attn.c_proj", mlp_norm="ln_2", gate_up=("mlp.w2", "mlp.w1"), down="mlp.c_proj",
    epsilon="layer_norm_epsilon",
)  # fmt: skip
_ARCHITECTURES = {
    "LlamaForCausalLM": _LLAMA,
    "Qwen2ForCausalLM": _LLAMA,
    "Qwen3ForCausalLM": _LLAMA,
    "QWenLMHeadModel": _FIRST_GENERATION,
}


@dataclass(frozen=True, slots=True)
class Layer:
    """qkv: queries, keys and values side by side; gate_up: the gate, then what it lets through."""

    attention_norm: AnyNorm
    qkv: Product
    head_norm: AnyNorm | None  # of queries and keys together, Qwen3 only
    out: Product
    mlp_norm: AnyNorm
    gate_up: Product
    down: Product


@dataclass(frozen=True, slots=True)
class Parts:
    """A dense decoder. width: of a head; dtype: of what goes from layer to layer."""

    heads: int
    kv_heads: int
    width: int
    positions: Source
    embedding: Tensor
    dtype: torch.dtype
    layers: list[Layer]
    final_norm: AnyNorm
    head: Product


def obstacle(model: Any) -> str:
    """Why the lean pass cannot stand in for the module; empty when it can. For the log."""
    kind, names = type(model).__name__, _ARCHITECTURES.get(type(model).__name__)
    if names is None:
        return f"{kind} is not one of {', '.join(_ARCHITECTURES)}"
    reason = _odd_first_generation(model) if names is _FIRST_GENERATION else _odd_llama(model)
    return reason or _odd_weights(model, names)


def _odd_llama(model: Any) -> str:
    config = model.config
    if config.hidden_act != "silu":
        return f"activation {config.hidden_act}"
    if set(getattr(config, "layer_types", None) or ("full_attention",)) != {"full_attention"}:
        return "sliding attention"
    rope = model.model.rotary_emb.rope_type
    return "" if rope in FIXED_ROPES else f"rope {rope}"


def _odd_first_generation(model: Any) -> str:
    config = model.config
    if config.rotary_pct != 1:
        return "positions in a part of each head"
    if config.softmax_in_fp32:
        return "a softmax in fp32"
    return "" if config.scale_attn_weights else "scores that are not scaled"


def _odd_weights(model: Any, names: _Names) -> str:
    if any(hasattr(module, "_hf_hook") for module in model.modules()):
        return "layers that are spread over several devices"
    paths = (*names.qkv, names.out, *names.gate_up, names.down)
    layers = model.get_submodule(names.body).get_submodule(names.layers)
    linears = [layer.get_submodule(path) for layer in layers for path in paths] + [model.lm_head]
    if not all(is_known(module) for module in linears):
        return "weights of an unknown kind"
    precisions = {module.weight.dtype for module in linears if type(module) is torch.nn.Linear}
    return "weights of several precisions" if len(precisions) > 1 else ""


def same_input(model: Any) -> list[list[Any]]:
    """The modules of a model that has no `obstacle` which read the same input, group by group."""
    names = _ARCHITECTURES[type(model).__name__]
    layers = model.get_submodule(names.body).get_submodule(names.layers)
    return [[layer.get_submodule(path) for path in paths] for layer in layers for paths in (names.qkv, names.gate_up)]


def take_apart(model: Any, *, is_exact: bool) -> Parts:
    """The parts of a model that has no `obstacle`. is_exact: nothing is computed in a higher precision than asked."""
    config, names = model.config, _ARCHITECTURES[type(model).__name__]
    body = model.get_submodule(names.body)
    embedding: Tensor = body.get_submodule(names.embedding).weight
    may_widen = embedding.device.type == "cpu" and embedding.dtype != torch.float32 and not is_exact
    layers = body.get_submodule(names.layers)
    # Quantised products take and give fp32 on a processor: between them half precision would only cost conversions.
    is_wide = may_widen and all(is_quantised(layers[0].get_submodule(path)) for path in (*names.qkv, names.out))
    dtype = torch.float32 if is_wide else embedding.dtype
    norm = WideNorm if dtype == torch.float32 and not is_exact else Norm
    take = _Taking(model, names, dtype, norm, in_fp32=may_widen and not has_bf16_products())
    with torch.inference_mode():
        taken = [take.layer(index) for index in range(len(layers))]
    is_first = names is _FIRST_GENERATION
    return Parts(
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        width=layers[0].get_submodule(names.attention).head_dim,
        positions=FirstGeneration(config) if is_first else Rotary(body.rotary_emb, dtype),
        embedding=embedding,
        dtype=dtype,
        layers=taken,
        final_norm=take.norm(f"{names.body}.{names.final_norm}"),
        head=take.product("lm_head"),
    )


class _Taking:
    """The products and layers of one model."""

    def __init__(
        self, model: Any, names: _Names, dtype: torch.dtype, norm: type[Norm] | type[WideNorm], *, in_fp32: bool
    ) -> None:
        self._model, self._names, self._dtype, self._in_fp32 = model, names, dtype, in_fp32
        self._norm, self._epsilon = norm, getattr(model.config, names.epsilon)

    def layer(self, index: int) -> Layer:
        names = self._names
        name = f"{names.body}.{names.layers}.{index}"
        return Layer(
            attention_norm=self.norm(f"{name}.{names.attention_norm}"),
            qkv=self._joined([f"{name}.{path}" for path in names.qkv]),
            head_norm=self._head_norm(self._model.get_submodule(f"{name}.{names.attention}")),
            out=self.product(f"{name}.{names.out}"),
            mlp_norm=self.norm(f"{name}.{names.mlp_norm}"),
            gate_up=self._joined([f"{name}.{path}" for path in names.gate_up]),
            down=self.product(f"{name}.{names.down}"),
        )

    def norm(self, name: str) -> AnyNorm:
        return self._norm(self._model.get_submodule(name).weight, self._epsilon)

    def product(self, name: str) -> Product:
        return product(name, self._model.get_submodule(name), in_fp32=self._in_fp32, dtype=self._dtype)

    def _joined(self, names: list[str]) -> Product:
        if len(names) == 1:
            return self.product(names[0])
        modules = [self._model.get_submodule(name) for name in names]
        return fused(names, modules) or Joined([self.product(name) for name in names])

    def _head_norm(self, attention: Any) -> AnyNorm | None:
        if not hasattr(attention, "q_norm"):
            return None
        config = self._model.config
        q, k = attention.q_norm.weight, attention.k_norm.weight
        both = torch.cat((q.expand(config.num_attention_heads, -1), k.expand(config.num_key_value_heads, -1)))
        return self._norm(both, self._epsilon)
