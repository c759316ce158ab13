"""Models as the library sees them: a manifest, a config and weight files of their full length that hold nothing.

The files are sparse, so a model of many gigabytes costs a few kilobytes of disk, and no torch is imported.
"""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

import msgspec

from core.models import manifest
from core.models.declared_tensors import declared_tensors
from core.models.manifest import FileRecord, Manifest
from core.models.safetensors_file import ITEM_BYTES

TINY = {
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 512,
    "max_position_embeddings": 4096, "torch_dtype": "bfloat16", "tie_word_embeddings": True,
}  # fmt: skip
QWEN_7B = {
    "model_type": "qwen", "architectures": ["QWenLMHeadModel"], "hidden_size": 4096, "intermediate_size": 22016,
    "num_hidden_layers": 32, "num_attention_heads": 32, "kv_channels": 128, "vocab_size": 151936, "seq_length": 8192,
    "max_position_embeddings": 32768, "use_dynamic_ntk": True, "use_logn_attn": True, "bf16": True,
    "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip


def put(models: Path, name: str, config: dict[str, Any] = TINY, **facts: Any) -> Manifest:
    """A model of the library in `models`; `facts` are those of its manifest."""
    folder = models / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    size = _sparse(folder / "model.safetensors", declared_tensors(config))
    made = Manifest(
        name=name, source="a test", architecture=config["architectures"][0], model_type=config["model_type"],
        weights="bfloat16", parameters=size // 2, context_length=config["max_position_embeddings"],
        files=(FileRecord("model.safetensors", size, ""),), added="2026-01-02T03:04:05Z",
    )  # fmt: skip
    made = msgspec.structs.replace(made, **facts)
    manifest.write(folder, made)
    return made


def _sparse(file: Path, tensors: dict[str, tuple[str, tuple[int, ...]]]) -> int:
    """Bytes of the file, none of which but the header is on the disk."""
    header: dict[str, Any] = {}
    end = 0
    for tensor, (dtype, shape) in tensors.items():
        begin, end = end, end + prod(shape) * ITEM_BYTES[dtype]
        header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    raw = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(raw)) + raw)
        out.truncate(8 + len(raw) + end)
    return 8 + len(raw) + end


def adapter_folder(folder: Path, base: str) -> Path:
    """A LoRA of rank 8 on the attention of a TINY model, as PEFT writes it; `base` is what its config names."""
    folder.mkdir(parents=True)
    config = {
        "peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"],
        "base_model_name_or_path": base, "task_type": "CAUSAL_LM", "bias": "none",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for layer in range(2):
        for part, rows in (("q_proj", 64), ("v_proj", 32)):
            path = f"base_model.model.model.layers.{layer}.self_attn.{part}"
            tensors[f"{path}.lora_A.weight"] = ("F32", (8, 64))
            tensors[f"{path}.lora_B.weight"] = ("F32", (rows, 8))
    _sparse(folder / "adapter_model.safetensors", tensors)
    return folder


def put_adapter(models: Path, name: str, base: str) -> Manifest:
    folder = adapter_folder(models / name, base)
    made = Manifest(
        name=name, source="a test", architecture="LoRA", model_type="", weights="bfloat16", parameters=2_000_000,
        context_length=0, files=(FileRecord("adapter_model.safetensors", 4_000_000, ""),), base=base,
        added="2026-01-02T03:04:05Z",
    )  # fmt: skip
    manifest.write(folder, made)
    return made
