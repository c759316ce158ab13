"""Dense decoders taken apart: which module of which architecture is which part of a layer.

Owns the names of modules. Invariant: what is found here is all the lean pass knows of an architecture; a model with
anything else in it is refused by `obstacle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.inference.products import Joined, Product, has_bf16_products, is_known, product

ARCHITECTURES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
FIXED_ROPES = ("default", "linear", "llama3", "yarn")  # the others change with the length


@dataclass(frozen=True, slots=True)
class Layer:
    """qkv: queries, keys and values side by side; gate_up: the gate, then what it lets through."""

    attention_norm: Tensor
    qkv: Product
    head_norm: Tensor | None  # (heads + kv_heads, head_dim), Qwen3 only
    out: Product
    mlp_norm: Tensor
    gate_up: Product
    down: Product


@dataclass(frozen=True, slots=True)
class Parts:
    """A dense decoder. rotary: the module that gives cosines and sines; width: of a head."""

    heads: int
    kv_heads: int
    width: int
    epsilon: float
    rotary: Any
    embedding: Tensor
    layers: list[Layer]
    final_norm: Tensor
    head: Product


def obstacle(model: Any) -> str:
    """Why the lean pass cannot stand in for the module; empty when it can. For the log."""
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
    if not all(is_known(module) for module in linears):
        return "weights of an unknown kind"
    precisions = {module.weight.dtype for module in linears if type(module) is torch.nn.Linear}
    return "weights of several precisions" if len(precisions) > 1 else ""


def take_apart(model: Any, *, is_exact: bool) -> Parts:
    """The parts of a model that has no `obstacle`. is_exact: nothing is computed in a higher precision than asked."""
    config, body = model.config, model.model
    embedding: Tensor = body.embed_tokens.weight
    half_on_cpu = embedding.device.type == "cpu" and embedding.dtype != torch.float32
    take = _Taking(model, in_fp32=half_on_cpu and not is_exact and not has_bf16_products())
    with torch.inference_mode():
        layers = [take.layer(index) for index in range(len(body.layers))]
    return Parts(
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        width=body.layers[0].self_attn.head_dim,
        epsilon=config.rms_norm_eps,
        rotary=body.rotary_emb,
        embedding=embedding,
        layers=layers,
        final_norm=body.norm.weight,
        head=take.product("lm_head"),
    )


class _Taking:
    """The products and layers of one model."""

    def __init__(self, model: Any, *, in_fp32: bool) -> None:
        self._model, self._in_fp32 = model, in_fp32

    def layer(self, index: int) -> Layer:
        name = f"model.layers.{index}"
        attention = self._model.get_submodule(f"{name}.self_attn")
        return Layer(
            attention_norm=self._model.get_submodule(f"{name}.input_layernorm").weight,
            qkv=self.joined(*(f"{name}.self_attn.{part}_proj" for part in "qkv")),
            head_norm=self._head_norm(attention),
            out=self.product(f"{name}.self_attn.o_proj"),
            mlp_norm=self._model.get_submodule(f"{name}.post_attention_layernorm").weight,
            gate_up=self.joined(f"{name}.mlp.gate_proj", f"{name}.mlp.up_proj"),
            down=self.product(f"{name}.mlp.down_proj"),
        )

    def product(self, name: str) -> Product:
        return product(name, self._model.get_submodule(name), in_fp32=self._in_fp32)

    def joined(self, *names: str) -> Product:
        return Joined([self.product(name) for name in names])

    def _head_norm(self, attention: Any) -> Tensor | None:
        if not hasattr(attention, "q_norm"):
            return None
        config = self._model.config
        q, k = attention.q_norm.weight, attention.k_norm.weight
        return torch.cat((q.expand(config.num_attention_heads, -1), k.expand(config.num_key_value_heads, -1)))
