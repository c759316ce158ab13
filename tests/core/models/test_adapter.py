"""An adapter folder is understood from its config and headers, or refused in one sentence; in the library it stands
beneath its base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.models import adapter, manifest
from core.models.adapter import examine
from core.models.importing import import_model
from core.models.steps import result
from core.models.verification import verify
from tests.helpers import tiny_adapters, tiny_models

TARGETS = ["q_proj", "down_proj"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_model(tmp_path_factory.mktemp("hub") / "Tiny-Qwen3")


@pytest.fixture(scope="module")
def original(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"target_modules": TARGETS, "modules_to_save": ["lm_head"], "use_rslora": True}
    folder = tmp_path_factory.mktemp("adapters") / "poet"
    return tiny_adapters.write(folder, tiny_models.model("qwen3"), base="Qwen/Tiny-Qwen3", **options)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "poet")


@pytest.fixture
def models(base: Path, tmp_path: Path) -> Path:
    """A library that has the base model, in place."""
    result(import_model(base, "", tmp_path / "models"))
    return tmp_path / "models"


def configure(folder: Path, **changes: Any) -> None:
    file = folder / adapter.CONFIG_NAME
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / adapter.WEIGHTS_NAME)
    change(tensors)
    save_file(tensors, folder / adapter.WEIGHTS_NAME)


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        examine(folder)
    assert str(caught.value)
    return caught.value.code


def test_an_adapter_says_what_it_is(folder: Path) -> None:
    found = examine(folder)
    assert (found.base_name, found.kind, found.rank, found.alpha) == ("Qwen/Tiny-Qwen3", "rsLoRA", 4, 8)
    assert found.targets == ("down_proj", "lm_head", "q_proj") and not found.needs_peft and not found.notices
    assert found.scale("model.layers.0.self_attn.q_proj") == 8 / 4**0.5
    configure(folder, use_rslora=False, alpha_pattern={"layers.1.self_attn.q_proj": 2}, rank_pattern={"o_proj": 8})
    found = examine(folder)
    assert [found.scale(f"model.layers.{layer}.self_attn.q_proj") for layer in (0, 1)] == [2.0, 0.5]


def test_an_adapter_whose_trained_layers_were_not_saved_is_noticed(folder: Path) -> None:
    """The published fine-tuning script wrote the factors only."""
    rewrite(folder, lambda tensors: tensors.pop("base_model.model.lm_head.weight"))
    [notice] = examine(folder).notices
    assert (notice.code, notice.params) == ("adapter_layers_missing", {"layers": "lm_head"})


def test_what_cannot_be_used_is_refused_in_words(folder: Path) -> None:
    good = (folder / adapter.CONFIG_NAME).read_text()
    for changes, code in (
        ({"peft_type": "IA3"}, "adapter_kind_unknown"),
        ({"init_lora_weights": "pissa_niter_4"}, "adapter_changes_base"),
        ({"r": 8}, "adapter_damaged"),
        ({"rank_pattern": {"q_proj(": 4}}, "adapter_damaged"),
    ):
        configure(folder, **changes)
        assert refused(folder) == code
        (folder / adapter.CONFIG_NAME).write_text(good)
    for text in ("", "[]", "{"):
        (folder / adapter.CONFIG_NAME).write_text(text)
        assert refused(folder) == "adapter_config_unreadable"
    (folder / adapter.CONFIG_NAME).unlink()
    assert refused(folder) == "adapter_config_missing"
    (folder / "config.json").write_text("{}")
    assert refused(folder) == "adapter_is_model"
    (folder / adapter.CONFIG_NAME).write_text(good)
    weights = folder / adapter.WEIGHTS_NAME
    rewrite(folder, lambda tensors: tensors.pop(next(name for name in tensors if "lora_B" in name)))
    assert refused(folder) == "adapter_damaged"
    save_file({}, weights)
    assert refused(folder) == "adapter_weights_missing"
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert refused(folder) == "lfs_pointer"
    weights.unlink()
    assert refused(folder) == "adapter_weights_missing"
    (folder / adapter.PICKLE_NAME).write_bytes(b"")
    assert refused(folder) == "adapter_pickle"


def test_an_adapter_is_taken_in_place_beneath_its_base(folder: Path, models: Path) -> None:
    place = result(import_model(folder, "", models))
    facts = manifest.read(place)
    assert place == models / "poet" and [file.name for file in place.iterdir()] == [manifest.FILE_NAME]
    assert (facts.base, facts.location, facts.context_length) == ("Tiny-Qwen3", str(folder), tiny_models.CONTEXT)
    assert facts.parameters == examine(folder).parameters and facts.can_chat
    assert {record.name for record in facts.files} == {adapter.CONFIG_NAME, adapter.WEIGHTS_NAME}
    rewrite(folder, lambda tensors: tensors.update({name: t + 1 for name, t in tensors.items()}))
    intact = {item[0].name: item[1] for item in verify(place) if isinstance(item, tuple)}
    assert intact == {adapter.CONFIG_NAME: True, adapter.WEIGHTS_NAME: False}


def test_the_base_is_found_by_name_or_folder_or_asked_for(folder: Path, models: Path, base: Path) -> None:
    def taken(name: str, said: str | None, asked: str = "") -> str:
        configure(folder, base_model_name_or_path=said)
        return manifest.read(result(import_model(folder, name, models, base=asked))).base

    assert taken("a", "Qwen/Tiny-Qwen3") == taken("b", str(base)) == taken("c", None, "tiny-qwen3") == "Tiny-Qwen3"
    assert taken("g", "unsloth/tiny-qwen3-unsloth-bnb-4bit") == taken("h", "Qwen/Tiny-Qwen3-Int4") == "Tiny-Qwen3"
    assert taken("d", "/cache/models--Qwen--Tiny-Qwen3/snapshots/abc") == "Tiny-Qwen3"
    outside = shutil.copytree(base, base.parent / "Outside", dirs_exist_ok=True)
    assert taken("e", "Somebody/Else", str(outside)) == str(outside)
    for said, asked, code in (
        (None, "", "adapter_base_unknown"),
        ("Qwen/Other", "", "adapter_base_unknown"),
        (None, "Other", "adapter_base_missing"),
    ):
        with pytest.raises(UserError) as caught:
            taken("f", said, asked)
        assert caught.value.code == code and str(caught.value) and not (models / "f").exists()


def test_an_adapter_of_another_model_is_refused_on_its_way_in(models: Path, tmp_path: Path) -> None:
    for name, changes, code in (
        ("wide", {"intermediate_size": 128}, "adapter_does_not_fit"),
        ("deep", {"num_hidden_layers": 3}, "adapter_layer_unknown"),
    ):
        other = tiny_models.model("qwen3", **changes)
        folder = tiny_adapters.write(tmp_path / name, other, base="Qwen/Tiny-Qwen3", target_modules=TARGETS)
        with pytest.raises(UserError) as caught:
            result(import_model(folder, "", models))
        assert caught.value.code == code and not (models / name).exists()


def test_a_pickle_is_converted_where_that_is_asked_for(folder: Path, models: Path) -> None:
    tensors = load_file(folder / adapter.WEIGHTS_NAME)
    torch.save(tensors, folder / adapter.PICKLE_NAME)
    (folder / adapter.WEIGHTS_NAME).unlink()
    with pytest.raises(UserError, match="pickle"):
        result(import_model(folder, "", models))
    place = result(import_model(folder, "", models, convert_pickle=True))
    facts = manifest.read(place)
    assert facts.base == "Tiny-Qwen3" and not facts.location
    found = load_file(place / adapter.WEIGHTS_NAME)
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)
    torch.save({"a": object}, folder / adapter.PICKLE_NAME)
    with pytest.raises(UserError, match=adapter.PICKLE_NAME):
        result(import_model(folder, "evil", models, convert_pickle=True))
