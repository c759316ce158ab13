"""Turns a GGUF file into a transformers folder: config, bf16 safetensors, tokenizer with its chat template.

Knows how llama.cpp stores the llama, qwen2 and qwen3 architectures. Invariant: the file's tensors must be exactly those
the architecture has, in the shapes its metadata says; otherwise nothing is converted and the reason is named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.models.gguf_file import GgufFile, GgufTensor, Value, open_gguf
from core.models.gguf_tokenizer import eos_ids, special_id, write_tokenizer
from core.models.safetensors_file import SHARD_BYTES, Planned, write_sharded
from core.models.steps import Step, Work

Json = dict[str, Any]

CHUNK_ELEMENTS = 4_000_000  # 16 MB of float32 at a time, whatever the size of the tensor


@dataclass(frozen=True, slots=True)
class _Architecture:
    """What tells one family's decoder layers from another's."""

    class_name: str
    qkv_bias: bool = False
    qk_norm: bool = False
    interleaved: bool = False  # llama.cpp keeps the two halves of each q and k head interleaved
    split: str = ""  # the one `tokenizer.ggml.pre` that transformers' tokenizer of this family can be
    config: tuple[tuple[str, Value], ...] = ()


_ARCHITECTURES = {
    "llama": _Architecture(
        "LlamaForCausalLM", interleaved=True, config=(("attention_bias", False), ("mlp_bias", False))
    ),
    "qwen2": _Architecture("Qwen2ForCausalLM", qkv_bias=True, split="qwen2"),
    "qwen3": _Architecture("Qwen3ForCausalLM", qk_norm=True, split="qwen2", config=(("attention_bias", False),)),
}


@dataclass(frozen=True, slots=True)
class _Target:
    """Where one tensor of the file goes. `heads` is set when its rows must be put in order, head by head."""

    name: str
    shape: tuple[int, ...]
    heads: int = 0


def convert(gguf_file: Path, out: Path, shard_bytes: int = SHARD_BYTES) -> Work[Json]:
    """Write the model of `gguf_file` into the folder `out`, which exists; the result is its config.

    Memory stays at some 150 MB, whatever the size of the model.

    Raises:
        UserError: gguf_* (cut, unreadable, an architecture, tokenizer or quantisation we do not know, other tensors).
    """
    source = open_gguf(gguf_file)
    config = read_config(source)
    targets = _targets(source, config)
    planned = [
        Planned(target.name, "BF16", target.shape, _bfloat16(source, source.tensors[name], target))
        for name, target in targets.items()
    ]
    _write_json(out / "config.json", config)
    _write_json(out / "generation_config.json", _generation_config(source.metadata))
    write_tokenizer(source.metadata, out, config["max_position_embeddings"])
    total = sum(tensor.size_bytes for tensor in planned)
    done = 0
    for size in write_sharded(out, planned, shard_bytes):
        done += size
        yield Step("converting", done, total, gguf_file.name)
    return config


def read_config(source: GgufFile) -> Json:
    """The config.json of the model in `source`."""
    facts = _Facts(source)
    head_dim = facts.head_dim()
    ids = {name: special_id(source.metadata, role) for name, role in (("bos", "bos"), ("pad", "padding"))}
    return {
        "architectures": [facts.family.class_name],
        "model_type": facts.architecture,
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": facts.number("embedding_length"),
        "intermediate_size": facts.number("feed_forward_length"),
        "num_hidden_layers": facts.number("block_count"),
        "num_attention_heads": facts.number("attention.head_count"),
        "num_key_value_heads": facts.number("attention.head_count_kv", facts.number("attention.head_count")),
        "head_dim": head_dim,
        "max_position_embeddings": facts.number("context_length"),
        "rms_norm_eps": facts.real("attention.layer_norm_rms_epsilon"),
        "rope_parameters": facts.rope(head_dim),
        "vocab_size": facts.vocabulary(),
        "tie_word_embeddings": "output.weight" not in source.tensors,
        "eos_token_id": special_id(source.metadata, "eos"),
        **{f"{name}_token_id": index for name, index in ids.items()},
        **dict(facts.family.config),
    }


class _Facts:
    """The metadata of one architecture, by its names without the prefix."""

    def __init__(self, source: GgufFile) -> None:
        self._source = source
        self.architecture = str(source.metadata.get("general.architecture", "?"))
        if self.architecture not in _ARCHITECTURES:
            raise UserError("gguf_architecture_unknown", architecture=self.architecture)
        self.family = _ARCHITECTURES[self.architecture]
        pre = source.metadata.get("tokenizer.ggml.pre")
        if self.family.split and pre != self.family.split:  # AutoTokenizer would split in its own way all the same
            raise UserError("gguf_tokenizer_unknown", tokenizer=f"{self.architecture}/{pre}")

    def number(self, name: str, default: int | None = None) -> int:
        found = self._get(name, default)
        if not isinstance(found, int) or found < 1:
            raise UserError("gguf_field_missing", field=f"{self.architecture}.{name}")
        return found

    def real(self, name: str, default: float | None = None) -> float:
        """Stored as float32: 1e-5 reads 9.99999974e-06, and its shortest form is what was meant."""
        found = self._get(name, default)
        if not isinstance(found, float | int) or found <= 0:
            raise UserError("gguf_field_missing", field=f"{self.architecture}.{name}")
        return float(str(np.float32(found)))

    def head_dim(self) -> int:
        heads = self.number("attention.head_count")
        size = self.number("attention.key_length", self.number("embedding_length") // heads)
        if self.number("rope.dimension_count", size) != size:
            raise UserError("gguf_rope_unknown", detail="rope.dimension_count")
        return size

    def rope(self, head_dim: int) -> Json:
        if "rope_freqs.weight" in self._source.tensors:
            raise UserError("gguf_rope_unknown", detail="rope_freqs.weight")
        kind = self._get("rope.scaling.type", "none")
        if kind not in ("none", "linear", "yarn"):
            raise UserError("gguf_rope_unknown", detail=str(kind))
        rope: Json = {
            "rope_type": "default" if kind == "none" else kind,
            "rope_theta": self.real("rope.freq_base", 10_000.0),
        }
        if kind != "none":
            rope["factor"] = self.real("rope.scaling.factor")
        if kind == "yarn":
            rope["original_max_position_embeddings"] = self.number("rope.scaling.original_context_length")
        return rope

    def vocabulary(self) -> int:
        embedding = self._source.tensors.get("token_embd.weight")
        if embedding is None:
            raise UserError("gguf_tensors_differ", detail="token_embd.weight")
        return embedding.shape[0]

    def _get(self, name: str, default: Value) -> Value:
        return self._source.metadata.get(f"{self.architecture}.{name}", default)


def _targets(source: GgufFile, config: Json) -> dict[str, _Target]:
    """Every tensor of the file with its name and place in the model; refuses a file that has others or lacks some."""
    wanted = _model_tensors(config)
    for layer in range(config["num_hidden_layers"]):
        wanted |= _layer_tensors(config, layer)
    found = {name: tensor.shape for name, tensor in source.tensors.items()}
    for name in [*wanted, *found]:
        if name not in found or name not in wanted or found[name] != wanted[name].shape:
            raise UserError("gguf_tensors_differ", detail=name)
    return wanted


def _model_tensors(config: Json) -> dict[str, _Target]:
    vocabulary, hidden = config["vocab_size"], config["hidden_size"]
    tensors = {
        "token_embd.weight": _Target("model.embed_tokens.weight", (vocabulary, hidden)),
        "output_norm.weight": _Target("model.norm.weight", (hidden,)),
    }
    if not config["tie_word_embeddings"]:
        tensors["output.weight"] = _Target("lm_head.weight", (vocabulary, hidden))
    return tensors


def _layer_tensors(config: Json, layer: int) -> dict[str, _Target]:
    family = _ARCHITECTURES[config["model_type"]]
    hidden, inner, head_dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q_heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    q_rows, kv_rows = q_heads * head_dim, kv_heads * head_dim
    ordered = family.interleaved
    tensors = {
        "attn_norm.weight": _Target("input_layernorm.weight", (hidden,)),
        "attn_q.weight": _Target("self_attn.q_proj.weight", (q_rows, hidden), q_heads * ordered),
        "attn_k.weight": _Target("self_attn.k_proj.weight", (kv_rows, hidden), kv_heads * ordered),
        "attn_v.weight": _Target("self_attn.v_proj.weight", (kv_rows, hidden)),
        "attn_output.weight": _Target("self_attn.o_proj.weight", (hidden, q_rows)),
        "ffn_norm.weight": _Target("post_attention_layernorm.weight", (hidden,)),
        "ffn_gate.weight": _Target("mlp.gate_proj.weight", (inner, hidden)),
        "ffn_up.weight": _Target("mlp.up_proj.weight", (inner, hidden)),
        "ffn_down.weight": _Target("mlp.down_proj.weight", (hidden, inner)),
    }
    if family.qkv_bias:
        tensors["attn_q.bias"] = _Target("self_attn.q_proj.bias", (q_rows,))
        tensors["attn_k.bias"] = _Target("self_attn.k_proj.bias", (kv_rows,))
        tensors["attn_v.bias"] = _Target("self_attn.v_proj.bias", (kv_rows,))
    if family.qk_norm:
        tensors["attn_q_norm.weight"] = _Target("self_attn.q_norm.weight", (head_dim,))
        tensors["attn_k_norm.weight"] = _Target("self_attn.k_norm.weight", (head_dim,))
    return {
        f"blk.{layer}.{name}": _Target(f"model.layers.{layer}.{target.name}", target.shape, target.heads)
        for name, target in tensors.items()
    }


def _bfloat16(source: GgufFile, tensor: GgufTensor, target: _Target) -> Iterator[bytes]:
    """The tensor's bytes as bf16, a few rows at a time. Rows are put in order before they are dequantised."""
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    kind = GGMLQuantizationType(tensor.kind)
    raw = source.raw_rows(tensor)
    order = _row_order(tensor.rows, target.heads)
    step = max(1, CHUNK_ELEMENTS // tensor.shape[-1])
    for start in range(0, tensor.rows, step):
        rows = raw[start : start + step] if order is None else raw[order[start : start + step]]
        try:
            values = dequantize(np.ascontiguousarray(rows), kind)
        except NotImplementedError:
            raise UserError("gguf_quantisation_unknown", file=source.path.name, kind=kind.name) from None
        yield _round_to_bfloat16(values).tobytes()


def _row_order(rows: int, heads: int) -> NDArray[np.intp] | None:
    """Where each row of q or k comes from: (head, pair, half) in the file, (head, half, pair) in transformers."""
    if not heads:
        return None
    return np.arange(rows).reshape(heads, rows // heads // 2, 2).swapaxes(1, 2).reshape(-1)


def _round_to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """To the nearest, ties to even, as torch does."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _generation_config(metadata: dict[str, Value]) -> Json:
    ends = eos_ids(metadata)
    ids = {
        "bos_token_id": special_id(metadata, "bos"),
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": special_id(metadata, "padding"),
    }
    return {name: value for name, value in ids.items() if value is not None}


def _write_json(file: Path, value: Json) -> None:
    file.write_text(json.dumps(value, indent=2), "utf-8")
