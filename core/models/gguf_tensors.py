"""Which tensor of a GGUF file becomes which tensor of the published checkpoint.

Invariant: every tensor of the file is used and has the shape its architecture gives it; otherwise the first difference
is named and nothing is converted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

from core.errors import UserError
from core.models.gguf_architectures import ROPE_FACTORS, family_of
from core.models.gguf_file import GgufFile

Json = dict[str, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """One tensor of the checkpoint and where it lies in the file.

    heads: set when its rows must be put in order, head by head
    first_row: of an expert, whose rows lie among those of all experts
    """

    name: str
    source: str
    shape: Shape
    heads: int = 0
    first_row: int = 0


def targets(source: GgufFile, config: Json) -> list[Target]:
    """
    Raises:
        UserError: gguf_tensors_differ.
    """
    wanted = _first_generation(config) if config["model_type"] == "qwen" else _like_llama(config)
    made = [target for targets in wanted.values() for target in targets]
    found = {name: tensor.shape for name, tensor in source.tensors.items() if name != ROPE_FACTORS}
    for name in [*wanted, *found]:
        if name not in found or name not in wanted or not _holds(found[name], wanted[name]):
            raise UserError("gguf_tensors_differ", detail=name)
    return made


def _holds(shape: Shape, parts: list[Target]) -> bool:
    """Experts lie one after the other; of a single row the file may leave the dimension out."""
    one = parts[0].shape
    if "_exps." in parts[0].source:
        return shape == (len(parts), *one)
    return shape == one or (one[0] == 1 and shape == one[1:])


Wanted = dict[str, list[Target]]


def _wanted(tensors: dict[str, tuple[str, Shape]], place: str = "", name: str = "") -> Wanted:
    """tensors: the file's name -> (ours, shape), below `place` in the file and `name` in the model."""
    return {place + theirs: [Target(name + ours, place + theirs, shape)] for theirs, (ours, shape) in tensors.items()}


def _first_generation(config: Json) -> Wanted:
    vocabulary, hidden = config["vocab_size"], config["hidden_size"]
    inner = config["intermediate_size"] // 2
    wanted = _wanted({
        "token_embd.weight": ("transformer.wte.weight", (vocabulary, hidden)),
        "output_norm.weight": ("transformer.ln_f.weight", (hidden,)),
        "output.weight": ("lm_head.weight", (vocabulary, hidden)),
    })  # fmt: skip
    layer = {
        "attn_norm.weight": ("ln_1.weight", (hidden,)),
        "attn_qkv.weight": ("attn.c_attn.weight", (3 * hidden, hidden)),
        "attn_qkv.bias": ("attn.c_attn.bias", (3 * hidden,)),
        "attn_output.weight": ("attn.c_proj.weight", (hidden, hidden)),
        "ffn_norm.weight": ("ln_2.weight", (hidden,)),
        "ffn_up.weight": ("mlp.w1.weight", (inner, hidden)),
        "ffn_gate.weight": ("mlp.w2.weight", (inner, hidden)),  # the one that goes through silu
        "ffn_down.weight": ("mlp.c_proj.weight", (hidden, inner)),
    }
    for number in range(config["num_hidden_layers"]):
        wanted |= _wanted(layer, f"blk.{number}.", f"transformer.h.{number}.")
    return wanted


def _like_llama(config: Json) -> Wanted:
    vocabulary, hidden = config["vocab_size"], config["hidden_size"]
    ends = {
        "token_embd.weight": ("model.embed_tokens.weight", (vocabulary, hidden)),
        "output_norm.weight": ("model.norm.weight", (hidden,)),
    }
    if not config["tie_word_embeddings"]:
        ends["output.weight"] = ("lm_head.weight", (vocabulary, hidden))
    wanted = _wanted(ends)
    for number in range(config["num_hidden_layers"]):
        place, name = f"blk.{number}.", f"model.layers.{number}."
        wanted |= _attention(config, place, name)
        wanted |= _experts(config, place, name) if family_of(config).experts else _mlp(config, place, name)
    return wanted


def _attention(config: Json, place: str, name: str) -> Wanted:
    family, hidden, head_dim = family_of(config), config["hidden_size"], config["head_dim"]
    heads = {"q": config["num_attention_heads"], "k": config["num_key_value_heads"], "v": config["num_key_value_heads"]}
    tensors: dict[str, tuple[str, Shape]] = {
        "attn_norm.weight": ("input_layernorm.weight", (hidden,)),
        "ffn_norm.weight": ("post_attention_layernorm.weight", (hidden,)),
        "attn_output.weight": ("self_attn.o_proj.weight", (hidden, heads["q"] * head_dim)),
    }
    for part, count in heads.items():
        tensors[f"attn_{part}.weight"] = (f"self_attn.{part}_proj.weight", (count * head_dim, hidden))
        if family.qkv_bias:
            tensors[f"attn_{part}.bias"] = (f"self_attn.{part}_proj.bias", (count * head_dim,))
    if family.qk_norm:
        tensors |= {f"attn_{part}_norm.weight": (f"self_attn.{part}_norm.weight", (head_dim,)) for part in "qk"}
    wanted = _wanted(tensors, place, name)
    if family.interleaved:
        for part in "qk":
            source = f"{place}attn_{part}.weight"
            wanted[source] = [replace(wanted[source][0], heads=heads[part])]
    return wanted


def _mlp(config: Json, place: str, name: str) -> Wanted:
    return _wanted(_gated("mlp", config["intermediate_size"], config["hidden_size"], ".weight"), place, name)


def _gated(module: str, inner: int, hidden: int, suffix: str) -> dict[str, tuple[str, Shape]]:
    shapes = {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}
    return {f"ffn_{part}{suffix}": (f"{module}.{part}_proj.weight", shape) for part, shape in shapes.items()}


def _experts(config: Json, place: str, name: str) -> Wanted:
    hidden, count, inner = config["hidden_size"], config["num_experts"], config["moe_intermediate_size"]
    tensors: dict[str, tuple[str, Shape]] = {"ffn_gate_inp.weight": ("mlp.gate.weight", (count, hidden))}
    if shared := config.get("shared_expert_intermediate_size"):
        tensors |= _gated("mlp.shared_expert", shared, hidden, "_shexp.weight")
        tensors["ffn_gate_inp_shexp.weight"] = ("mlp.shared_expert_gate.weight", (1, hidden))
    wanted = _wanted(tensors, place, name)
    for theirs, (ours, shape) in _gated("", inner, hidden, "_exps.weight").items():
        source = place + theirs
        wanted[source] = [
            Target(f"{name}mlp.experts.{expert}{ours}", source, shape, first_row=expert * prod(shape[:-1]))
            for expert in range(count)
        ]
    return wanted
