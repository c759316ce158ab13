"""The shape of a model, told from its config alone, from file headers, and by the module that transformers builds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from core.errors import UserError
from core.models.shape import Memory, read_shape, shape_from, shape_of
from tests.helpers import tiny_models

SIZES = {
    "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
SHARED = {"shared_expert_intermediate_size": 48}
DELTA = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 8}
CONFIGS: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen2": {"tie_word_embeddings": True},
    "Qwen3": {},
    "Qwen2Moe": EXPERTS | SHARED,
    "Qwen3Moe": EXPERTS,
    "Qwen3Next": EXPERTS | SHARED | DELTA,
    "Qwen3_5Text": DELTA,
    "Qwen3_5MoeText": EXPERTS | SHARED | DELTA,
}


@pytest.mark.parametrize("family", CONFIGS)
def test_the_config_alone_tells_every_tensor(family: str) -> None:
    config = getattr(transformers, f"{family}Config")(**(SIZES | CONFIGS[family]))
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    plain = json.loads(config.to_json_string(use_diff=False))
    declared = shape_of(plain)
    built = shape_from(plain, {name: ("F32", tuple(tensor.shape)) for name, tensor in model.state_dict().items()})
    assert declared.parameters == built.parameters == sum(p.numel() for p in model.parameters())
    assert [block.parameters for block in declared.blocks] == [block.parameters for block in built.blocks]
    assert {block.name for block in built.blocks} <= {name for name, _ in model.named_modules()}


def test_the_first_generation() -> None:
    config = {
        "model_type": "qwen", "architectures": ["QWenLMHeadModel"], "hidden_size": 4096, "num_hidden_layers": 32,
        "num_attention_heads": 32, "kv_channels": 128, "intermediate_size": 22016, "vocab_size": 151936,
        "max_position_embeddings": 8192, "tie_word_embeddings": False, "bf16": True,
    }  # fmt: skip
    shape = shape_of(config)
    assert shape.parameters == 7_721_324_544
    assert shape.layers[31].name == "transformer.h.31" and shape.inner == 11008
    assert shape.layers[0].memory == Memory("full", 32, 128, 128)


def test_headers_of_a_folder(tmp_path: Path) -> None:
    folder = tiny_models.write_model(tmp_path / "m", "qwen3", torch.bfloat16)
    shape = read_shape(folder)
    assert shape.stored == "bfloat16" and shape.head is None and len(shape.layers) == 2
    assert shape.parameters == sum(p.numel() for p in tiny_models.model("qwen3").parameters())
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        read_shape(folder)


def test_layers_that_remember_less() -> None:
    sliding = SIZES | {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 32, "max_window_layers": 2}
    kinds = [layer.memory.kind for layer in shape_of(sliding).layers if layer.memory]
    assert kinds == ["full", "full", "sliding", "sliding"]
    mixed = shape_of(SIZES | DELTA | {"model_type": "qwen3_5_text"})
    assert [layer.memory.kind for layer in mixed.layers if layer.memory] == ["recurrent"] * 3 + ["full"]


def test_a_config_that_says_too_little() -> None:
    with pytest.raises(UserError, match="intermediate_size"):
        shape_of({key: value for key, value in SIZES.items() if key != "intermediate_size"} | {"model_type": "llama"})
    with pytest.raises(UserError, match="mamba"):
        shape_of(SIZES | {"model_type": "mamba"})
