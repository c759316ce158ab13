"""The library as the window and the command line see it: real files, real workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file, save_file

from app.cli import models as models_command
from app.services.inference import ModelFiles
from app.services.library import LibraryService
from app.services.transfers import Transfer
from core import paths
from core.errors import UserError
from core.models import manifest
from core.models.importing import import_model
from core.models.steps import result
from core.protocol.messages import Finished, Progress
from core.translation import say
from tests.helpers.starter import REPOSITORY
from tests.helpers.tiny_gguf import tiny_model, write_gguf


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "Tiny.gguf", tiny_model("qwen2"))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def names(service: LibraryService) -> list[str]:
    return [model.manifest.name for model in service._scan()]


async def test_import_find_check_remove_undo(gguf_file: Path, models: Path) -> None:
    service = LibraryService(models)
    seen: list[list[str]] = []
    service.changed.listen(lambda _: seen.append(list(service.transfers)))
    assert await service.installed() == []
    await service.take(gguf_file)
    assert ["Tiny.gguf"] in seen and seen[-1] == []
    [model] = await service.installed()
    assert service.find("tiny") == model and model.files_folder == models / "Tiny"
    await service.check("Tiny")
    (models / "Tiny" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json"):
        await service.check("Tiny")
    await service.remove("Tiny")
    assert await service.installed() == []
    await service.restore("Tiny")
    assert names(service) == ["Tiny"]
    await service.remove("Tiny")
    await service.close()
    assert not list(models.rglob("*.safetensors"))
    with pytest.raises(UserError) as caught:
        await service.restore("Tiny")
    assert caught.value.code == "nothing_removed"


@pytest.mark.loops("asyncio")
async def test_removing_a_model_that_is_used_in_place_leaves_its_files(
    gguf_file: Path, models: Path, tmp_path: Path
) -> None:
    service = LibraryService(tmp_path / "other")
    await service.take(gguf_file, "mine")
    own = tmp_path / "other" / "mine"
    (own / manifest.FILE_NAME).unlink()
    service.move_to(models)
    await service.take(own)
    assert service.find("mine").files_folder == own and list((models / "mine").iterdir()) == [
        models / "mine" / manifest.FILE_NAME
    ]
    await service.remove("mine")
    await service.close()
    assert (own / "model.safetensors").exists() and await service.installed() == []


@pytest.mark.loops("asyncio")
async def test_finding_what_is_not_there_says_what_is(gguf_file: Path, models: Path, tmp_path: Path) -> None:
    service = LibraryService(models)
    with pytest.raises(UserError, match="pull starter"):
        service.find("starter")
    await service.take(gguf_file)
    with pytest.raises(UserError, match="Tiny"):
        service.find("nothing")
    folder = tmp_path / "copy"
    (models / "Tiny").rename(folder)
    found = service.find(str(folder))
    assert found.files_folder == folder and found.manifest.architecture == "Qwen2ForCausalLM"
    with pytest.raises(UserError) as caught:
        await service.remove(str(folder))
    assert caught.value.code == "remove_outside"
    with pytest.raises(UserError) as caught:
        service.find(str(tmp_path))
    assert caught.value.code == "config_missing", "it is there, and holds no model"


async def test_a_cancelled_import_ends_and_leaves_nothing(gguf_file: Path, models: Path) -> None:
    service = LibraryService(models)
    ends = []
    async for event in service.import_(gguf_file, "Tiny"):
        if isinstance(event, Progress):
            service.cancel("Tiny")
        if isinstance(event, Finished):
            ends.append(event.reason)
    assert ends in (["cancelled"], ["stop"])  # it is small: it may have been done already
    assert names(service) == ([] if ends == ["cancelled"] else ["Tiny"])
    assert not service.transfers


async def test_a_stream_that_nobody_reads_on_ends_its_worker(gguf_file: Path, models: Path) -> None:
    service = LibraryService(models)
    events = service.import_(gguf_file, "Tiny")
    await anext(events)
    assert service.transfers
    await events.aclose()
    assert not service.transfers
    service.tidy()


async def test_closing_waits_for_the_worker_of_a_stream_that_was_left(gguf_file: Path, models: Path) -> None:
    """A command may end at once after it; what is open then would be reported when the loop is gone."""
    service = LibraryService(models)
    events = service.import_(gguf_file, "Tiny")
    await anext(events)
    await events.aclose()
    await service.close()
    assert not psutil.Process().children()


@pytest.mark.loops("asyncio")
async def test_one_job_for_a_model_at_a_time(gguf_file: Path, models: Path) -> None:
    service = LibraryService(models)
    events = service.import_(gguf_file, "Tiny")
    await anext(events)
    with pytest.raises(UserError) as caught:
        await service.take(gguf_file, "Tiny")
    assert caught.value.code == "transfer_running"
    await events.aclose()


@pytest.mark.loops("asyncio")
async def test_errors_of_the_worker_arrive_as_sentences(models: Path, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError) as caught:
        await LibraryService(models).take(tmp_path / "x.gguf")
    assert caught.value.code == "gguf_unreadable"


def test_speed_and_time_left_are_averages_of_the_last_seconds() -> None:
    transfer = Transfer("m", "j")
    assert transfer.share is None and transfer.bytes_per_s is None and transfer.seconds_left is None
    for second in range(20):
        transfer.update(
            Progress("j", second * 1000 if second < 10 else 10_000 + (second - 10) * 500, 100_000, "downloading"),
            second,
        )
    assert transfer.bytes_per_s == pytest.approx(500, rel=0.2)
    assert transfer.seconds_left == pytest.approx((100_000 - 14_500) / 500, rel=0.2)
    transfer.update(Progress("j", 10, 100, "converting"), 21)
    assert transfer.bytes_per_s is None and transfer.share == 0.1


def command(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "QWEN_WORKBENCH_HOME": str(home), "LC_ALL": "C.UTF-8"}
    argv = [sys.executable, str(REPOSITORY / "main.py"), "models", *arguments]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def test_the_command_line_prints_json_and_nothing_else(gguf_file: Path, home: Path) -> None:
    imported = command("import", str(gguf_file), "--name", "Tiny", "--json", home=home)
    lines = [json.loads(line) for line in imported.stdout.splitlines()]
    assert imported.returncode == 0 and imported.stderr == ""
    assert lines[-1]["event"] == "stored" and lines[-1]["model"]["name"] == "Tiny"
    listed = json.loads(command("list", "--json", home=home).stdout)
    assert [model["name"] for model in listed["models"]] == ["Tiny"]
    shown = json.loads(command("show", "tiny", "--json", home=home).stdout)
    assert shown["architecture"] == "Qwen2ForCausalLM" and len(shown["files"]) == 5
    verified = command("verify", "--json", home=home)
    assert verified.returncode == 0 and all(json.loads(line)["is_intact"] for line in verified.stdout.splitlines())


def test_the_command_line_ends_with_the_right_code(gguf_file: Path, home: Path) -> None:
    assert command("import", str(gguf_file), home=home).returncode == 0
    (home / "models" / "Tiny" / "config.json").write_text("{}")
    damaged = command("verify", "Tiny", home=home)
    assert damaged.returncode == 1 and "config.json" in damaged.stderr and "Traceback" not in damaged.stderr
    asked = command("remove", "Tiny", home=home)
    assert asked.returncode == 1 and "--yes" in asked.stderr and (home / "models" / "Tiny").exists()
    assert command("remove", "Tiny", "--yes", home=home).returncode == 0
    assert not list((home / "models").rglob("*.safetensors"))
    assert command("show", "Tiny", home=home).returncode == 1
    assert command("pull", home=home).returncode == 2


@pytest.fixture
def with_adapter(home: Path, tmp_path: Path) -> LibraryService:
    """The library of this home with a model, an adapter on it, and another model."""
    from tests.helpers import tiny_adapters, tiny_models

    library = paths.models()
    for name in ("Base", "Another"):
        result(import_model(tiny_models.write_model(tmp_path / name), "", library))
    folder = tiny_adapters.write(
        tmp_path / "Aria",
        tiny_models.model("qwen3"),
        target_modules=["q_proj"],
        modules_to_save=["lm_head"],
        base="Base",
    )
    tensors = load_file(folder / "adapter_model.safetensors")
    del tensors["base_model.model.lm_head.weight"]
    save_file(tensors, folder / "adapter_model.safetensors")
    result(import_model(folder, "", library))
    return LibraryService(library)


@pytest.mark.loops("asyncio")
async def test_an_adapter_is_answered_with_by_its_base(with_adapter: LibraryService, tmp_path: Path) -> None:
    expected = ModelFiles("Base", tmp_path / "Base", tmp_path / "Aria")
    assert with_adapter.files_of("aria") == with_adapter.files_of(str(tmp_path / "Aria")) == expected
    with pytest.raises(UserError, match="Aria"):
        await with_adapter.remove("Base")
    assert with_adapter.adapters_of("Base") == ["Aria"]
    await with_adapter.remove("Aria")
    await with_adapter.remove("Base")
    await with_adapter.restore("Aria")
    with pytest.raises(UserError) as caught:
        with_adapter.files_of("Aria")
    assert caught.value.code == "adapter_base_gone" and str(caught.value)
    await with_adapter.close()


def test_an_imported_folder_is_said_to_lie_where_it_lies(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.helpers import tiny_models

    folder = tiny_models.write_model(tmp_path / "Mine")
    models_command.import_(folder)
    assert capsys.readouterr().out == say("library.used_there", name="Mine", folder=str(folder)) + "\n"


def test_adapters_stand_beneath_their_base_on_the_command_line(
    with_adapter: LibraryService, capsys: pytest.CaptureFixture[str]
) -> None:
    models_command.list_models(as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["Another", "Base", "└"] and "Aria" in lines[3]
    models_command.list_models(as_json=True)
    assert [model["base"] for model in json.loads(capsys.readouterr().out)["models"]] == ["", "", "Base"]
    models_command.show("Aria", as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["kind"], shown["rank"], shown["base"], shown["targets"]) == ("LoRA", 4, "Base", ["q_proj"])
    assert "lm_head" in shown["notices"]["adapter_layers_missing"]
    models_command.show("Base", as_json=False)
    out = capsys.readouterr().out
    assert "Qwen3" in out and "Aria" in out and str(1024) in out
