"""Architectures by name, for profiles without a download: the contents of the config.json they were published with.

The first generation is that of the specification, section 1.1; "7B" alone means that one, as in the README. Invariant:
every config names what `core.models.shape.shape_of` needs. Imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from core.errors import UserError
from core.profiling.config_check import need_possible
from core.profiling.plan import Subject

Config = dict[str, Any]

_V1: Config = {
    "model_type": "qwen", "architectures": ["QWenLMHeadModel"], "vocab_size": 151_936, "kv_channels": 128,
    "seq_length": 8192, "max_position_embeddings": 32_768, "rotary_emb_base": 10_000, "rotary_pct": 1.0,
    "use_dynamic_ntk": True, "use_logn_attn": True, "layer_norm_epsilon": 1e-6, "no_bias": True,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
_QWEN3: Config = {
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "vocab_size": 151_936, "head_dim": 128,
    "num_key_value_heads": 8, "max_position_embeddings": 40_960, "rope_theta": 1_000_000, "rms_norm_eps": 1e-6,
    "hidden_act": "silu", "attention_bias": False, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


def _v1(hidden: int, layers: int, inner: int, **more: Any) -> Config:
    heads = hidden // 128
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    return _V1 | sizes | {"intermediate_size": inner} | more


def _qwen3(hidden: int, inner: int, layers: int, heads: int, *, tied: bool = False) -> Config:
    return _QWEN3 | {
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "tie_word_embeddings": tied,
    }  # fmt: skip


NAMED: dict[str, Config] = {
    "1.8B": _v1(2048, 24, 11_008),
    "7B": _v1(4096, 32, 22_016),
    "14B": _v1(5120, 40, 27_392, vocab_size=152_064, seq_length=2048),
    "72B": _v1(8192, 80, 49_152, vocab_size=152_064, seq_length=32_768, rotary_emb_base=1_000_000,
               use_dynamic_ntk=False, use_logn_attn=False),
    "0.5B": _QWEN3 | {  # of Qwen1.5: the first generation has none so small
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 1024, "intermediate_size": 2816,
        "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 64,
        "max_position_embeddings": 32_768, "tie_word_embeddings": True,
    },
    "Qwen3-0.6B": _qwen3(1024, 3072, 28, 16, tied=True),
    "Qwen3-1.7B": _qwen3(2048, 6144, 28, 16, tied=True),
    "Qwen3-4B": _qwen3(2560, 9728, 36, 32, tied=True),
    "Qwen3-8B": _qwen3(4096, 12_288, 36, 32),
    "Qwen3-14B": _qwen3(5120, 17_408, 40, 40),
    "Qwen3-32B": _qwen3(5120, 25_600, 64, 64),
    "starter-shape": _QWEN3 | {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 49_152, "hidden_size": 576,
        "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "head_dim": 64, "max_position_embeddings": 8192, "rope_theta": 100_000, "tie_word_embeddings": True,
    },
    "tiny": _v1(128, 2, 512, vocab_size=2048),
}  # fmt: skip


def named(name: str) -> Subject:
    """
    Raises:
        UserError: shape_unknown.
    """
    found = {known.lower(): known for known in NAMED}.get(name.lower())
    if found is None:
        raise UserError("shape_unknown", name=name, known=", ".join(NAMED))
    return Subject(found, config=msgspec.json.encode(NAMED[found]).decode())


def from_file(file: Path) -> Subject:
    """
    Raises:
        UserError: import_missing, config_unreadable, and as need_possible.
    """
    try:
        config = msgspec.json.decode(file.read_bytes(), type=Config)
    except OSError:
        raise UserError("import_missing", path=str(file)) from None
    except msgspec.DecodeError:
        raise UserError("config_unreadable", file=file.name, folder=str(file.parent)) from None
    need_possible(config, str(file))
    name = file.stem if file.stem != "config" else file.resolve().parent.name
    return Subject(name, config=msgspec.json.encode(config).decode(), source=str(file.absolute()))


def architecture(text: str) -> Subject:
    """What `--architecture` names: a config.json, a folder that holds one, or a shape by its name."""
    place = Path(text).expanduser()
    if (place / "config.json").is_file():
        return from_file(place / "config.json")
    return from_file(place) if text.endswith(".json") or place.is_file() else named(text)
