"""A repository of a hub becomes a model of the library, whatever form it has; a half one never does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.errors import UserError
from core.hub import staging
from core.hub.fetching.download import Network
from core.hub.snapshot import download
from core.models import manifest
from core.models.importing import import_model
from core.models.steps import result
from core.models.verification import verify
from core.protocol.messages import DownloadModel
from core.sources import Access, Place, Source
from tests.helpers import shelf_models, tiny_adapters, tiny_models
from tests.helpers.huggingface_server import HuggingFaceServer
from tests.helpers.modelscope_server import ModelScopeServer
from tests.helpers.tiny_gguf import tiny_model, write_gguf

QUICK = Network(connect_s=2, stall_s=2, attempts=2, attempts_later=2, backoff_s=0.01)
ID = "someone/tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tiny_models.write_model(tmp_path_factory.mktemp("snapshot") / "tiny", "qwen3")
    (place / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    return place


@pytest.fixture
def face(monkeypatch: pytest.MonkeyPatch) -> Iterator[HuggingFaceServer]:
    monkeypatch.setenv("NO_PROXY", "*")
    with HuggingFaceServer() as server:
        yield server


def job(
    models: Path, *servers: HuggingFaceServer | ModelScopeServer, name: str = "tiny", **more: object
) -> DownloadModel:
    places: dict[type, Place] = {HuggingFaceServer: "huggingface", ModelScopeServer: "modelscope"}
    sources = tuple(Source(places[type(server)], ID) for server in servers)
    accesses = tuple(Access(places[type(server)], server.address) for server in servers)
    return DownloadModel("job", name, str(models), sources, accesses, **more)  # type: ignore[arg-type]


def fetched(wanted: DownloadModel) -> Path:
    return result(download(wanted, QUICK))


def is_intact(place: Path) -> bool:
    return all(item[1] for item in verify(place) if isinstance(item, tuple))


def nothing_listed(models: Path) -> bool:
    return not any((place / manifest.FILE_NAME).exists() for place in models.iterdir())


def test_a_gguf_file_is_converted_and_its_papers_are_no_model(face: HuggingFaceServer, tmp_path: Path) -> None:
    written = write_gguf(tmp_path / "Tiny-Q8_0.gguf", tiny_model("qwen3"))
    files = {"README.md": b"# GGUF\n", "LICENSE": b"free", "Tiny-Q8_0.gguf": written.read_bytes()}
    face.publish(ID, files | {"Tiny-Q4_K_M.gguf": b"GGUF not this one"}, licence="mit")
    models = tmp_path / "models"
    with pytest.raises(UserError) as told:
        fetched(job(models, face))
    assert told.value.code == "hub_choose_file" and "Tiny-Q8_0.gguf" in str(told.value)
    place = fetched(job(models, face, file="Tiny-Q8_0.gguf"))
    assert manifest.read(place).architecture == "Qwen3ForCausalLM" and manifest.read(place).licence == "mit"
    assert is_intact(place) and not (models / staging.DOWNLOADING / "tiny").exists()


def test_an_adapter_needs_its_model_and_then_lies_beneath_it(face: HuggingFaceServer, tmp_path: Path) -> None:
    models = tmp_path / "models"
    base = tiny_models.write_model(tmp_path / "base", "qwen3")
    face.publish(ID, tiny_adapters.write(tmp_path / "adapter", tiny_models.model("qwen3"), target_modules=["q_proj"]))
    with pytest.raises(UserError) as told:
        fetched(job(models, face))
    assert told.value.code.startswith("adapter_base") and nothing_listed(models)
    result(import_model(base, "base", models))
    place = fetched(job(models, face, base="base"))
    assert (manifest.read(place).base, manifest.read(place).location) == ("base", "") and is_intact(place)


def test_pickles_come_only_with_consent(face: HuggingFaceServer, folder: Path, tmp_path: Path) -> None:
    pickled = shutil.copytree(folder, tmp_path / "pickled")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    face.publish(ID, pickled)
    models = tmp_path / "models"
    with pytest.raises(UserError) as told:
        fetched(job(models, face))
    assert told.value.code == "hub_only_pickle" and not face.asked("pytorch_model")
    place = fetched(job(models, face, convert_pickle=True))
    assert is_intact(place) and not (place / "pytorch_model.bin").exists()


def test_a_model_of_no_use_is_refused_before_its_weights_come(
    face: HuggingFaceServer, folder: Path, tmp_path: Path
) -> None:
    strange = shutil.copytree(folder, tmp_path / "strange")
    config = (strange / "config.json").read_text()
    (strange / "config.json").write_text(config.replace("Qwen3ForCausalLM", "StrangeForNothing"))
    face.publish(ID, strange)
    with pytest.raises(UserError) as told:
        fetched(job(tmp_path / "models", face))
    assert told.value.code == "architecture_unknown" and not face.asked("model.safetensors")


def test_when_one_hub_fails_on_the_way_the_other_goes_on_from_there(
    face: HuggingFaceServer, folder: Path, tmp_path: Path
) -> None:
    face.publish(ID, folder)
    with ModelScopeServer() as scope:
        scope.publish(ID, folder)
        face.inject("cut", 20_000, "stored.*safetensors", times=1)
        face.inject("status", 500, "stored.*safetensors", times=0)
        place = fetched(job(tmp_path / "models", face, scope))
        (again,) = scope.asked("stored.*safetensors")
    assert is_intact(place) and manifest.read(place).source.startswith("ModelScope")
    assert again.headers["range"].startswith("bytes=") and not again.headers["range"].startswith("bytes=0-")


def test_a_plan_that_the_hub_has_thrown_away_is_made_anew(
    face: HuggingFaceServer, folder: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    face.publish(ID, folder)
    face.inject("status", 500, "resolve.*safetensors", times=0)
    with pytest.raises(UserError):
        fetched(job(models, face))
    assert nothing_listed(models) and "tiny" in staging.left_over(models)
    face.faults.clear()
    face.repositories.clear()
    other = shutil.copytree(folder, tmp_path / "other")
    tiny_models.model("qwen3", seed=5).save_pretrained(other)
    face.publish(ID, other)
    place = fetched(job(models, face))
    assert (place / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert is_intact(place)


def test_what_is_there_already_is_not_fetched_again(face: HuggingFaceServer, tmp_path: Path) -> None:
    shelf_models.put(tmp_path / "models", "tiny", source=f"ModelScope {ID.upper()} @ 0123456789ab")
    assert fetched(job(tmp_path / "models", face)) == tmp_path / "models" / "tiny"
    assert not face.requests


def test_another_model_of_the_same_name_is_no_success(face: HuggingFaceServer, folder: Path, tmp_path: Path) -> None:
    face.publish(ID, folder)
    shelf_models.put(tmp_path / "models", "tiny", source="Hugging Face other/tiny @ 0123456789ab")
    with pytest.raises(UserError) as told:
        fetched(job(tmp_path / "models", face))
    assert told.value.code == "name_taken"
    assert fetched(job(tmp_path / "models", face, name="tiny-2")).name == "tiny-2"


def test_a_hub_that_gives_wrong_bytes_is_replaced_by_the_other(
    face: HuggingFaceServer, folder: Path, tmp_path: Path
) -> None:
    face.publish(ID, folder)
    face.inject("corrupt", 100, "stored.*safetensors", times=0)
    with ModelScopeServer() as scope:
        scope.publish(ID, folder)
        place = fetched(job(tmp_path / "models", face, scope))
    assert is_intact(place) and manifest.read(place).source.startswith("ModelScope")


def test_terms_that_were_not_accepted_are_named(face: HuggingFaceServer, folder: Path, tmp_path: Path) -> None:
    face.publish(ID, folder, gated=True)
    with pytest.raises(UserError) as told:
        fetched(job(tmp_path / "models", face))
    assert told.value.code == "hub_gated" and ID in str(told.value)


def test_a_models_folder_that_is_a_file_is_told(face: HuggingFaceServer, folder: Path, tmp_path: Path) -> None:
    face.publish(ID, folder)
    (tmp_path / "models").write_text("not a folder")
    with pytest.raises(UserError) as told:
        fetched(job(tmp_path / "models", face))
    assert told.value.code == "folder_is_a_file"
