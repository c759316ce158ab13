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
    header: dict[str, Any] = {}
    end = 0
    for tensor, (dtype, shape) in declared_tensors(config).items():
        begin, end = end, end + prod(shape) * ITEM_BYTES[dtype]
        header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    raw = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + end)
    made = Manifest(
        name=name, source="a test", architecture=config["architectures"][0], model_type=config["model_type"],
        weights="bfloat16", parameters=end // 2, context_length=config["max_position_embeddings"],
        files=(FileRecord("model.safetensors", 8 + len(raw) + end, ""),), added="2026-01-02T03:04:05Z",
    )  # fmt: skip
    made = msgspec.structs.replace(made, **facts)
    manifest.write(folder, made)
    return made


def put_adapter(models: Path, name: str, base: str) -> Manifest:
    folder = models / name
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}), "utf-8")
    made = Manifest(
        name=name, source="a test", architecture="LoRA", model_type="", weights="bfloat16", parameters=2_000_000,
        context_length=0, files=(FileRecord("adapter_model.safetensors", 4_000_000, ""),), base=base,
        added="2026-01-02T03:04:05Z",
    )  # fmt: skip
    manifest.write(folder, made)
    return made
