"""Folders of the first generation load as published, without a line of their own code, and are written back whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from core.models.checkpoint import examine
from core.models.load import load
from core.models.qwen_v1.configuration import QWenConfig
from core.models.qwen_v1.modeling import QWenLMHeadModel
from core.models.qwen_v1.registration import register
from tests.helpers import tiny_qwen_v1
from tests.helpers.tiny_qwen_v1 import write_model

IDS = torch.tensor([[5, 260, 17, 300, 99]])

register()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=IDS).logits
    return found


def changed(folder: Path, copy: Path, config: dict[str, Any]) -> Path:
    """A folder whose config.json is `config`."""
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    return copy


def test_no_code_of_the_folder_is_run(folder: Path) -> None:
    assert (folder / "modeling_qwen.py").read_text().startswith("raise")
    for trust in (False, None):  # with None transformers would ask on the terminal
        assert type(AutoConfig.from_pretrained(folder, trust_remote_code=trust)) is QWenConfig
        assert type(AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)).__name__ == "QWenTokenizer"
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=trust)
        assert type(model) is QWenLMHeadModel
    loaded = load(folder)
    assert (loaded.architecture, loaded.context_length) == ("QWenLMHeadModel", 256)
    assert [notice.code for notice in loaded.notices] == ["code_never_run"]
    torch.testing.assert_close(logits(loaded.model), logits(tiny_qwen_v1.model()))


def test_the_tensors_have_their_published_names(folder: Path) -> None:
    block = [
        "attn.c_attn.bias", "attn.c_attn.weight", "attn.c_proj.weight", "ln_1.weight", "ln_2.weight",
        "mlp.c_proj.weight", "mlp.w1.weight", "mlp.w2.weight",
    ]  # fmt: skip
    expected = {f"transformer.h.{n}.{name}" for n in range(2) for name in block}
    expected |= {"transformer.wte.weight", "transformer.ln_f.weight", "lm_head.weight"}
    with safe_open(folder / "model.safetensors", "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    assert set(shapes) == expected
    assert shapes["transformer.h.0.attn.c_attn.weight"] == (192, 64)
    assert shapes["transformer.h.1.mlp.w2.weight"] == (96, 64)
    assert examine(folder).parameters == sum(parameter.numel() for parameter in tiny_qwen_v1.model().parameters())


def test_a_folder_comes_back_from_a_round_trip(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"onnx_safe": None, "made_by": {"a": [1, 2]}}
    model = AutoModelForCausalLM.from_pretrained(changed(folder, tmp_path / "in", config))
    model.save_pretrained(tmp_path / "out")
    found = json.loads((tmp_path / "out" / "config.json").read_text())
    assert {key: found[key] for key in config} == config
    assert not {"head_dim", "num_key_value_heads", "n_embd"} & set(found)
    before, after = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "out"))
    assert set(before) == set(after) and all(torch.equal(before[name], after[name]) for name in before)
    assert (model.config.head_dim, model.config.num_key_value_heads) == (16, 4)  # as other code asks


def test_shards_and_stored_buffers(folder: Path, tmp_path: Path) -> None:
    sharded = write_model(tmp_path / "sharded", max_shard_size="100KB")
    shards = sorted(sharded.glob("model-*.safetensors"))
    assert len(shards) > 3
    tensors = load_file(shards[0])
    for name in ("rotary_emb.inv_freq", "logn_tensor", "h.0.attn.masked_bias", "h.0.attn.registered_causal_mask"):
        tensors[f"transformer.{name}"] = torch.ones(3)
    save_file(tensors, shards[0], {"format": "pt"})
    model, report = AutoModelForCausalLM.from_pretrained(sharded, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"))
    assert torch.equal(logits(model), logits(AutoModelForCausalLM.from_pretrained(folder)))


def test_the_key_names_of_august_2023(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for new, old in (
        ("hidden_size", "n_embd"), ("num_attention_heads", "n_head"), ("num_hidden_layers", "n_layer"),
        ("intermediate_size", "ffn_hidden_size"), ("max_position_embeddings", "n_positions"),
        ("vocab_size", "padded_vocab_size"), ("attn_dropout_prob", "attn_pdrop"), ("emb_dropout_prob", "embd_pdrop"),
    ):  # fmt: skip
        config[old] = config.pop(new)
    config |= {"n_inner": None, "resid_pdrop": 0.1, "pos_emb": "rotary", "vocab_size": 1}
    config["apply_residual_connection_post_layernorm"] = False
    old = changed(folder, tmp_path / "old", config)
    model = AutoModelForCausalLM.from_pretrained(old)
    assert torch.equal(logits(model), logits(AutoModelForCausalLM.from_pretrained(folder)))
    model.save_pretrained(tmp_path / "new")
    found = json.loads((tmp_path / "new" / "config.json").read_text())
    assert (found["hidden_size"], found["vocab_size"], found["resid_pdrop"]) == (64, 512, 0.1)
    assert not {"n_embd", "n_inner", "padded_vocab_size"} & set(found)


def test_half_precision(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "half", torch.bfloat16)
    model = load(folder).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    exact = load(folder, options("float32")).model
    assert float((logits(model).float() - logits(exact)).abs().max()) < 0.1


def options(weights: Any) -> Any:
    from core.load_options import LoadOptions

    return LoadOptions(weights=weights)


@pytest.mark.errors_logged  # accelerate warns of what is asked for here
def test_a_block_is_never_split_over_devices(folder: Path, tmp_path: Path) -> None:
    block = sum(tensor.nbytes for name, tensor in load_file(folder / "model.safetensors").items() if ".h.0." in name)
    rest = 2 * 512 * 64 * 4
    model = AutoModelForCausalLM.from_pretrained(
        folder, device_map="auto", max_memory={"cpu": rest + int(1.5 * block)}, offload_folder=tmp_path
    )
    places = model.hf_device_map
    assert {"cpu", "disk"} == set(places.values())
    assert not [name for name in places if ".h." in name and name.count(".") > 2], places
    assert torch.equal(logits(model), logits(AutoModelForCausalLM.from_pretrained(folder)))


def test_new_weights_begin_as_published() -> None:
    torch.manual_seed(0)
    config = tiny_qwen_v1.config(hidden_size=256, kv_channels=64, intermediate_size=1024, initializer_range=0.02)
    for name, parameter in QWenLMHeadModel(config).state_dict().items():
        if ".ln_" in name:
            assert bool((parameter == 1).all())
        elif name.endswith("bias"):
            assert bool((parameter == 0).all())
        else:
            expected = 0.02 / 2 if name.endswith("c_proj.weight") else 0.02  # sqrt(2 * 2 layers)
            assert float(parameter.std()) == pytest.approx(expected, rel=0.03), name


def test_the_defaults_are_those_of_7b() -> None:
    config = QWenConfig()
    assert (config.vocab_size, config.hidden_size, config.intermediate_size) == (151_936, 4096, 22_016)
    assert (config.seq_length, config.rotary_emb_base, config.use_flash_attn) == (8192, 10_000, "auto")
    with torch.device("meta"):
        model = QWenLMHeadModel(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == 7_721_324_544
    assert len(model.state_dict()) == 259
