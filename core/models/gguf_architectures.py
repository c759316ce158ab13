"""What the metadata of a GGUF file says of the model, as the config.json it was made from.

Knows how llama.cpp describes the llama architecture and the Qwen families. Invariant: a config that comes out of here
describes the model in full; what the metadata leaves open is either known from what was published, or refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.chat.tiktoken_file import END_OF_TEXT
from core.errors import UserError
from core.models.gguf_file import GgufFile, Value
from core.models.gguf_tokenizer import special_id

Json = dict[str, Any]

ROPE_FACTORS = "rope_freqs.weight"  # by what the frequencies of llama 3 are divided, one number each
# low and high frequency factor, original length: as published with every llama 3.1, 3.2 and 3.3
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
# (width, layers) -> tokens of the training texts: files of the first generation do not say it
TRAINED_FIRST = {(2048, 24): 8192, (4096, 32): 8192, (5120, 40): 2048, (8192, 80): 32_768}
PLAIN_FIRST = {(8192, 80)}  # trained on long texts, without NTK and LogN


@dataclass(frozen=True, slots=True)
class Architecture:
    """What tells one family's decoder layers from another's."""

    class_name: str
    model_type: str
    qkv_bias: bool = False
    qk_norm: bool = False
    experts: bool = False
    interleaved: bool = False  # llama.cpp keeps the two halves of each q and k head interleaved
    split: str = ""  # the one `tokenizer.ggml.pre` that transformers' tokenizer of this family can be
    config: tuple[tuple[str, Value], ...] = ()


_SPARSE = (("decoder_sparse_step", 1), ("output_router_logits", False))
ARCHITECTURES = {
    "llama": Architecture(
        "LlamaForCausalLM", "llama", interleaved=True, config=(("attention_bias", False), ("mlp_bias", False))
    ),
    "qwen": Architecture("QWenLMHeadModel", "qwen"),
    "qwen2": Architecture("Qwen2ForCausalLM", "qwen2", qkv_bias=True, split="qwen2"),
    "qwen2moe": Architecture(
        "Qwen2MoeForCausalLM", "qwen2_moe", qkv_bias=True, experts=True, split="qwen2",
        config=(("norm_topk_prob", False), *_SPARSE),
    ),
    "qwen3": Architecture(
        "Qwen3ForCausalLM", "qwen3", qk_norm=True, split="qwen2", config=(("attention_bias", False),)
    ),
    "qwen3moe": Architecture(
        "Qwen3MoeForCausalLM", "qwen3_moe", qk_norm=True, experts=True, split="qwen2",
        config=(("attention_bias", False), ("norm_topk_prob", True), *_SPARSE),
    ),
}  # fmt: skip


def read_config(source: GgufFile) -> Json:
    """The config.json of the model in `source`.

    Raises:
        UserError: gguf_architecture_unknown, gguf_tokenizer_unknown, gguf_field_missing, gguf_rope_unknown,
            gguf_tensors_differ.
    """
    facts = _Facts(source)
    return _first_generation(facts) if facts.family.model_type == "qwen" else _like_llama(facts)


def family_of(config: Json) -> Architecture:
    return next(family for family in ARCHITECTURES.values() if family.model_type == config["model_type"])


class _Facts:
    """The metadata of one architecture, by its names without the prefix."""

    def __init__(self, source: GgufFile) -> None:
        self.source = source
        self.architecture = str(source.metadata.get("general.architecture", "?"))
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise UserError("gguf_architecture_unknown", architecture=self.architecture, known=known)
        self.family = ARCHITECTURES[self.architecture]
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
        kind = self._get("rope.scaling.type", "none")
        if kind not in ("none", "linear", "yarn"):
            raise UserError("gguf_rope_unknown", detail=str(kind))
        theta = self.real("rope.freq_base", 10_000.0)
        if ROPE_FACTORS in self.source.tensors:
            if kind != "none":
                raise UserError("gguf_rope_unknown", detail=f"{kind}, {ROPE_FACTORS}")
            return _llama3_rope(self._rope_factors(head_dim), theta, head_dim)
        rope: Json = {"rope_type": "default" if kind == "none" else kind, "rope_theta": theta}
        if kind != "none":
            rope["factor"] = self.real("rope.scaling.factor")
        if kind == "yarn":
            rope["original_max_position_embeddings"] = self.number("rope.scaling.original_context_length")
        return rope

    def rows(self, tensor: str, axis: int = 0) -> int:
        """The size of a tensor that every model of the architecture has."""
        found = self.source.tensors.get(tensor)
        if found is None or len(found.shape) <= axis:
            raise UserError("gguf_tensors_differ", detail=tensor)
        return found.shape[axis]

    def ids(self) -> Json:
        roles = {"bos": "bos", "eos": "eos", "pad": "padding"}
        return {f"{name}_token_id": special_id(self.source.metadata, role) for name, role in roles.items()}

    def _rope_factors(self, head_dim: int) -> NDArray[np.float32]:
        tensor = self.source.tensors[ROPE_FACTORS]
        if tensor.kind != 0 or tensor.shape != (head_dim // 2,):  # float32
            raise UserError("gguf_rope_unknown", detail=ROPE_FACTORS)
        return self.source.raw_rows(tensor).view(np.float32).reshape(-1)

    def _get(self, name: str, default: Value) -> Value:
        return self.source.metadata.get(f"{self.architecture}.{name}", default)


def _like_llama(facts: _Facts) -> Json:
    head_dim = facts.head_dim()
    return {
        "architectures": [facts.family.class_name],
        "model_type": facts.family.model_type,
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": facts.number("embedding_length"),
        **(_experts(facts) if facts.family.experts else {"intermediate_size": facts.number("feed_forward_length")}),
        "num_hidden_layers": facts.number("block_count"),
        "num_attention_heads": facts.number("attention.head_count"),
        "num_key_value_heads": facts.number("attention.head_count_kv", facts.number("attention.head_count")),
        "head_dim": head_dim,
        "max_position_embeddings": facts.number("context_length"),
        "rms_norm_eps": facts.real("attention.layer_norm_rms_epsilon"),
        "rope_parameters": facts.rope(head_dim),
        "vocab_size": facts.rows("token_embd.weight"),
        "tie_word_embeddings": "output.weight" not in facts.source.tensors,
        **facts.ids(),
        **dict(facts.family.config),
    }


def _experts(facts: _Facts) -> Json:
    """Widths are read off the tensors: older files do not name them."""
    inner = facts.rows("blk.0.ffn_gate_exps.weight", 1)
    config: Json = {
        "intermediate_size": facts.number("feed_forward_length", inner),
        "moe_intermediate_size": inner,
        "num_experts": facts.number("expert_count"),
        "num_experts_per_tok": facts.number("expert_used_count"),
    }
    if facts.family.model_type == "qwen2_moe":
        config["shared_expert_intermediate_size"] = facts.rows("blk.0.ffn_gate_shexp.weight")
    return config


def _first_generation(facts: _Facts) -> Json:
    hidden, layers = facts.number("embedding_length"), facts.number("block_count")
    longest, head_dim = facts.number("context_length"), facts.head_dim()
    rope = facts.rope(head_dim)
    if rope["rope_type"] != "default":
        raise UserError("gguf_rope_unknown", detail=str(rope["rope_type"]))
    stretches = (hidden, layers) not in PLAIN_FIRST
    tokens = facts.source.metadata.get("tokenizer.ggml.tokens") or []
    if END_OF_TEXT not in tokens:
        raise UserError("gguf_tokenizer_unknown", tokenizer="qwen")
    end = tokens.index(END_OF_TEXT)
    return {
        "architectures": [facts.family.class_name],
        "model_type": "qwen",
        "tokenizer_class": "QWenTokenizer",
        "dtype": "bfloat16",
        "bf16": True,
        "vocab_size": facts.rows("token_embd.weight"),
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": facts.number("attention.head_count"),
        "kv_channels": head_dim,
        "intermediate_size": 2 * facts.rows("blk.0.ffn_gate.weight"),
        "seq_length": min(TRAINED_FIRST.get((hidden, layers), longest), longest),
        "max_position_embeddings": longest,
        "rotary_emb_base": rope["rope_theta"],
        "rotary_pct": 1.0,
        "layer_norm_epsilon": facts.real("attention.layer_norm_rms_epsilon"),
        "use_dynamic_ntk": stretches,
        "use_logn_attn": stretches,
        "no_bias": True,
        "tie_word_embeddings": False,
        "eos_token_id": end,
        "pad_token_id": end,
    }


def _llama3_rope(factors: NDArray[np.float32], theta: float, head_dim: int) -> Json:
    """The published rule whose factors these are.

    Raises:
        UserError: gguf_rope_unknown when they follow another one.
    """
    largest = float(factors.max())
    if np.all(factors == 1):
        return {"rope_type": "default", "rope_theta": theta}
    original, high = LLAMA3["original_max_position_embeddings"], LLAMA3["high_freq_factor"]
    wavelengths = 2 * np.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    smooth = np.clip((original / wavelengths - 1) / (high - 1), 0, 1)
    if not np.allclose(factors, 1 / ((1 - smooth) / largest + smooth), rtol=1e-4):
        raise UserError("gguf_rope_unknown", detail=ROPE_FACTORS)
    return {"rope_type": "llama3", "rope_theta": theta, "factor": largest, **LLAMA3}
