"""Importing takes what is good, and refuses the rest in one sentence with the library as it was."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from core.chat.tiktoken_file import write_entries
from core.errors import UserError
from core.models import manifest, shelf
from core.models.gguf import convert
from core.models.importing import import_model
from core.models.safetensors_file import read_header
from core.models.steps import result
from core.models.verification import verify
from tests.helpers import shelf_models, tiny_models, tiny_qwen_v1
from tests.helpers.tiny_gguf import tiny_model, write_gguf


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "Tiny-Qwen3.gguf", tiny_model("qwen3"))


@pytest.fixture(scope="session")
def original(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformers folder in shards."""
    folder = tmp_path_factory.mktemp("original") / "Tiny-Qwen3"
    folder.mkdir()
    result(convert(gguf_file, folder, shard_bytes=60_000))
    return folder


@pytest.fixture
def source(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "Tiny Qwen3 (mine)")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def refused(source: Path, models: Path, name: str = "", *, convert_pickle: bool = False) -> str:
    before = sorted(models.rglob("*")) if models.exists() else []
    with pytest.raises(UserError) as caught:
        result(import_model(source, name, models, convert_pickle=convert_pickle))
    assert str(caught.value)
    assert (sorted(models.rglob("*")) if models.exists() else []) == before
    return caught.value.code


def intact(folder: Path) -> dict[str, bool]:
    return {item[0].name: item[1] for item in verify(folder) if isinstance(item, tuple)}


@pytest.mark.parametrize("is_chat", [True, False])
def test_a_folder_of_the_first_generation(tmp_path: Path, models: Path, is_chat: bool) -> None:
    source = tiny_qwen_v1.write_model(tmp_path / "Qwen-tiny", torch.bfloat16, is_chat=is_chat)
    facts = manifest.read(result(import_model(source, "", models)))
    assert (facts.architecture, facts.model_type, facts.weights) == ("QWenLMHeadModel", "qwen", "bfloat16")
    assert facts.can_chat is is_chat and facts.family == "qwen" and "modeling_qwen.py" in facts.code_files
    assert "qwen.tiktoken" in [file.name for file in facts.files]
    assert facts.parameters == tiny_qwen_v1.model().num_parameters()


def test_a_gguf_file_of_the_first_generation_and_where_it_stays(tmp_path: Path, models: Path) -> None:
    file = write_gguf(tmp_path / "Qwen-tiny-Chat.gguf", tiny_model("qwen"))
    facts = manifest.read(result(import_model(file, "", models)))
    assert (facts.model_type, facts.can_chat, facts.gguf) == ("qwen", True, str(file))


def test_a_folder_is_registered_where_it_lies(source: Path, models: Path) -> None:
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny")
    (source / "modeling_evil.py").write_text("raise SystemExit")
    before = {file: file.stat().st_mtime_ns for file in source.iterdir()}
    place = result(import_model(source, "", models))
    facts = manifest.read(place)
    assert place == models / "Tiny-Qwen3-mine" and [file.name for file in place.iterdir()] == ["workbench.json"]
    assert facts.location == str(source) and manifest.files_folder(place, facts) == source
    assert (facts.architecture, facts.weights, facts.licence) == ("Qwen3ForCausalLM", "bfloat16", "apache-2.0")
    assert facts.context_length == 512 and facts.can_chat and facts.code_files == ("modeling_evil.py",)
    assert facts.parameters == sum(p.numel() for p in tiny_model("qwen3").parameters())
    assert {file: file.stat().st_mtime_ns for file in source.iterdir()} == before
    assert all(intact(place).values()) and "model.safetensors.index.json" in intact(place)


def test_a_gguf_file_becomes_a_model_of_its_own(gguf_file: Path, models: Path) -> None:
    place = result(import_model(gguf_file, "", models))
    facts = manifest.read(place)
    assert place.name == "Tiny-Qwen3" and not facts.location and facts.licence == "apache-2.0"
    assert all(intact(place).values()) and (place / "model.safetensors").exists()
    assert sorted(models.iterdir()) == [place]


def test_damage_is_found_later_file_by_file(source: Path, models: Path) -> None:
    place = result(import_model(source, "", models))
    victim = next(source.glob("model-00002*"))
    raw = bytearray(victim.read_bytes())
    raw[-1] ^= 1
    victim.write_bytes(raw)
    (source / "generation_config.json").unlink()
    damaged = {name for name, good in intact(place).items() if not good}
    assert damaged == {victim.name, "generation_config.json"}


def shard(folder: Path) -> Path:
    return sorted(folder.glob("model-*.safetensors"))[0]


def change(name: str, key: str, value: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))

    return apply


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda f: (f / "config.json").unlink(), "config_missing"),
        (lambda f: (f / "config.json").write_text('{"a":'), "config_unreadable"),
        (lambda f: (f / "config.json").write_text("[]"), "config_unreadable"),
        (change("config.json", "architectures", ["EvilForCausalLM"]), "architecture_unknown"),
        (change("config.json", "architectures", None), "architecture_unknown"),
        (change("config.json", "quantization_config", {"bits": 4}), "quantisation_missing"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer_missing"),
        (lambda f: (f / "tokenizer.json").write_bytes(b"\0garbage"), "tokenizer_unreadable"),
        (lambda f: os.truncate(f / "tokenizer.json", 2000), "tokenizer_unreadable"),
        (change("config.json", "vocab_size", 200), "tokenizer_too_large"),
        (lambda f: shard(f).unlink(), "shard_missing"),
        (lambda f: os.truncate(shard(f), shard(f).stat().st_size - 1), "safetensors_truncated"),
        (lambda f: os.truncate(shard(f), 100), "safetensors_truncated"),
        (lambda f: os.truncate(shard(f), 3), "safetensors_unreadable"),
        (lambda f: shard(f).write_bytes(b"\xff" * 5000), "safetensors_unreadable"),
        (lambda f: shard(f).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1"), "lfs_pointer"),
        (change("model.safetensors.index.json", "weight_map", {"a": "../../x"}), "shard_missing"),
        (change("model.safetensors.index.json", "weight_map", 3), "index_unreadable"),
        (lambda f: [file.unlink() for file in f.glob("model*")], "weights_missing"),
    ],
)
def test_a_bad_folder_is_refused_in_one_sentence(
    source: Path, models: Path, harm: Callable[[Path], None], code: str
) -> None:
    harm(source)
    assert refused(source, models) == code


def cut(folder: Path) -> None:
    """In the middle of a line."""
    file = folder / "qwen.tiktoken"
    os.truncate(file, file.stat().st_size - 7)


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda f: (f / "qwen.tiktoken").unlink(), "vocabulary_missing"),
        (lambda f: (f / "qwen.tiktoken").write_bytes(b"\0garbage"), "tokenizer_unreadable"),
        (cut, "tokenizer_unreadable"),
        (change("config.json", "vocab_size", 400), "tokenizer_too_large"),
        (change("config.json", "vocab_size", 151936), "tokenizer_unreadable"),  # most of its lines are gone
        (lambda f: write_entries(f / "qwen_extra.tiktoken", {b"new words": 700}), "tokenizer_too_large"),
    ],
)
def test_a_bad_vocabulary_of_the_first_generation_is_refused(
    tmp_path: Path, models: Path, harm: Callable[[Path], None], code: str
) -> None:
    source = tiny_qwen_v1.write_model(tmp_path / "Qwen-tiny")
    harm(source)
    assert refused(source, models) == code


def test_an_index_that_names_weights_no_file_has(source: Path, models: Path) -> None:
    index = json.loads((source / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.layers.9.ghost"] = shard(source).name
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    assert refused(source, models) == "tensor_missing"


def test_bad_files_and_paths(gguf_file: Path, tmp_path: Path, models: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf_file.read_bytes()[:-1])
    assert refused(cut, models) == "gguf_truncated"
    (tmp_path / "notes.txt").write_text("hello")
    assert refused(tmp_path / "notes.txt", models) == "import_not_a_model"
    assert refused(tmp_path / "nothing", models) == "import_missing"
    (tmp_path / "pointer.gguf").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1")
    assert refused(tmp_path / "pointer.gguf", models) == "lfs_pointer"


def test_names(source: Path, models: Path) -> None:
    result(import_model(source, "Mine", models))
    assert refused(source, models, "mine") == "name_taken"
    assert refused(source, models, "Starter") == "name_reserved"
    assert refused(source, models, "../..") == "name_unusable"
    assert result(import_model(source, "../通义 千问/7B", models)) == models / "通义-千问-7B"


def pickled(source: Path, value: object) -> Path:
    for file in source.glob("model*"):
        file.unlink()
    torch.save(value, source / "pytorch_model.bin")
    return source


def test_pickles_are_refused_until_asked_for_and_then_converted(source: Path, models: Path) -> None:
    model = tiny_model("qwen3", tied=True).bfloat16()
    change("config.json", "tie_word_embeddings", True)(source)
    pickled(source, model.state_dict())  # two names for one tensor
    assert refused(source, models) == "weights_pickle"
    place = result(import_model(source, "", models, convert_pickle=True))
    entries = read_header(place / "model.safetensors")
    assert entries.keys() == model.state_dict().keys() and all(intact(place).values())
    assert not list(place.glob("*.bin"))


class Evil:
    def __init__(self, witness: Path) -> None:
        self.witness = str(witness)

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.witness,)


def test_a_pickle_with_code_never_runs(source: Path, models: Path, tmp_path: Path) -> None:
    witness = tmp_path / "it-ran"
    pickled(source, {"w": Evil(witness)})
    assert refused(source, models, convert_pickle=True) == "pickle_refused"
    (source / "pytorch_model.bin").write_bytes(pickle.dumps({"w": Evil(witness)}, protocol=2))
    assert refused(source, models, convert_pickle=True) == "pickle_refused"
    assert not witness.exists()


def test_a_full_disk_leaves_no_half_model(gguf_file: Path, models: Path) -> None:
    models.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # the kernel refuses, as a full disk does
    try:
        assert refused(gguf_file, models) == "disk_full"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_import_that_is_given_up_leaves_nothing(gguf_file: Path, models: Path) -> None:
    work = import_model(gguf_file, "", models)
    next(work)
    assert list(models.iterdir())
    work.close()
    assert not list(models.iterdir())


def test_what_a_killed_import_left_is_swept_and_a_running_one_is_not(models: Path) -> None:
    dead, alive = models / ".incoming-dead", models / ".incoming-alive"
    for folder in (dead, alive):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    (models / "whole").mkdir()
    with FileLock(models / ".incoming-alive.lock"):
        shelf.sweep(models)
        assert alive.exists() and not dead.exists() and (models / "whole").exists()
    shelf.sweep(models)
    assert [entry.name for entry in models.iterdir()] == ["whole"]


def test_a_folder_put_into_the_library_by_hand_is_taken_where_it_is(original: Path, models: Path) -> None:
    models.mkdir()
    source = shutil.copytree(original, models / "by-hand")
    assert result(import_model(source, "", models)) == source
    assert manifest.read(source).location == "" and all(intact(source).values())


def test_what_a_cache_holds_becomes_the_librarys_own_without_a_second_copy(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "cache" / "blobs", tmp_path / "cache" / "snapshots" / "c0ffee"
    tiny_models.write_model(blobs, "qwen3")
    (blobs / "README.md").write_text("# Tiny\n")
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(file)
    models = tmp_path / "models"
    stored = result(import_model(snapshot, "mine", models, keeps=True, came_from="Hugging Face a/b @ c0ffee"))
    facts = manifest.read(stored)
    assert (facts.source, facts.location) == ("Hugging Face a/b @ c0ffee", "")
    assert (stored / "model.safetensors").stat().st_ino == (blobs / "model.safetensors").stat().st_ino
    shutil.rmtree(tmp_path / "cache")  # the other program clears its cache
    assert not (stored / "model.safetensors").is_symlink()
    assert all(intact for _, intact in _verified(stored)) and (stored / "README.md").read_text() == "# Tiny\n"


def test_an_adapter_of_a_cache_becomes_the_librarys_own(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shelf_models.put(models, "base")
    adapter = shelf_models.adapter_folder(tmp_path / "cache" / "poems", "base")
    stored = result(import_model(adapter, "", models, base="base", keeps=True))
    shutil.rmtree(tmp_path / "cache")
    facts = manifest.read(stored)
    assert (facts.base, facts.location) == ("base", "") and all(intact for _, intact in _verified(stored))


def test_where_the_disk_allows_no_link_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_models.write_model(tmp_path / "theirs", "qwen3")

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    stored = result(import_model(source, "mine", tmp_path / "models", keeps=True))
    assert (stored / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert (stored / "model.safetensors").stat().st_ino != (source / "model.safetensors").stat().st_ino


def _verified(folder: Path) -> list[tuple[object, bool]]:
    return [item for item in verify(folder) if isinstance(item, tuple)]
