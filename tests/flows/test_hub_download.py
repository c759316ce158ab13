"""From a name to a verified model on disk, as a user does it: on bad networks, from whichever hub answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import paths, settings
from core.hub import staging
from core.models import manifest
from tests.helpers import tiny_gptq
from tests.helpers.huggingface_server import HuggingFaceServer
from tests.helpers.modelscope_server import ModelScopeServer
from tests.helpers.proxy_server import ProxyServer

MAIN = Path(__file__).resolve().parents[2] / "main.py"
NAME, ID = "Qwen-7B-Chat-Int4", "qwen/Qwen-7B-Chat-Int4"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def int4(tmp_path_factory: pytest.TempPathFactory, qwen_tiktoken: Path) -> Path:
    """A stand-in of the published layout: the same files, made by the code that reads the published ones."""
    folder, _ = tiny_gptq.write(tmp_path_factory.mktemp("int4") / NAME, "qwen", tiny_gptq.Kind())
    (folder / "README.md").write_text("---\nlicense: other\n---\n# Qwen-7B-Chat-Int4\n")
    (folder / "LICENSE").write_text("Tongyi Qianwen LICENSE AGREEMENT")
    (folder / "modeling_qwen.py").write_text("raise SystemExit('never run')")
    (folder / "assets").mkdir()
    (folder / "assets" / "logo.png").write_bytes(os.urandom(1000))
    return folder


@pytest.fixture
def scope(int4: Path) -> Iterator[ModelScopeServer]:
    with ModelScopeServer() as server:
        server.publish(ID, int4, tags=["v1.0.5"], licence="other")
        yield server


def choose(**values: str) -> None:
    """Settings, as a user made them in the window."""
    settings.save(paths.settings_file(), settings.Settings(**values))  # type: ignore[arg-type]


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(MAIN), *arguments], capture_output=True, text=True, timeout=100,
        env={**os.environ, "NO_PROXY": "*", **environment},
    )  # fmt: skip


def pull(*arguments: str, **environment: str) -> list[dict[str, Any]]:
    done = command("models", "pull", NAME, "--accept-licence", "--json", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def need_same(source: Path) -> None:
    """What is in the library is what was published, but for the code and the pictures."""
    place = paths.models() / NAME
    names = {record.name for record in manifest.read(place).files}
    wanted = {file.name for file in source.iterdir() if file.is_file() and file.suffix != ".py"}
    assert names == wanted == {file.name for file in place.iterdir()} - {manifest.FILE_NAME}
    assert all((place / name).read_bytes() == (source / name).read_bytes() for name in names)
    assert not (paths.models() / staging.DOWNLOADING / NAME).exists()


def test_on_a_bad_line_where_only_modelscope_answers(int4: Path, scope: ModelScopeServer) -> None:
    choose(huggingface_endpoint=NOBODY, modelscope_endpoint=scope.address)
    scope.inject("cut", 20_000, r"model.*safetensors", times=2)
    scope.inject("status", 503, "tiktoken")
    events = pull("--revision", "v1.0.5")
    need_same(int4)
    stored = events[-1]["model"]
    assert "modeling_qwen.py" in stored["code_files"]
    assert stored["source"].startswith(f"ModelScope {ID}")
    last = [event for event in events if event["event"] == "progress"][-1]
    assert last["done"] == last["total"] == stored["size_bytes"]
    checked = command("models", "verify", NAME)
    assert checked.returncode == 0, checked.stderr


def test_behind_a_proxy_where_only_a_mirror_answers(int4: Path) -> None:
    with (
        HuggingFaceServer(prefix="/mirror") as mirror,
        ProxyServer(refused={"huggingface.co", "modelscope.cn"}) as proxy,
    ):
        mirror.is_mirror = True
        mirror.publish("Qwen/Qwen-7B-Chat-Int4", int4, licence="other")
        choose(huggingface_endpoint=mirror.address, proxy=proxy.address)
        pull()
        need_same(int4)
        assert proxy.requests


def test_what_will_come_and_whether_it_fits_is_said_before(scope: ModelScopeServer) -> None:
    choose(huggingface_endpoint=NOBODY, modelscope_endpoint=scope.address)
    refused = command("models", "pull", NAME)
    assert refused.returncode == 1 and "--accept-licence" in refused.stderr and "Traceback" not in refused.stderr
    assert not (paths.models() / NAME).exists()
    done = command("models", "pull", NAME, "--accept-licence")
    assert done.returncode == 0, done.stderr
    said = done.stderr.split("\n")
    assert any("files" in line and "ModelScope" in line for line in said)
    assert any("It fits" in line for line in said)
    assert any("never run" in line for line in said)
    # Asked once: the next model with this licence needs no answer any more.
    assert settings.load(paths.settings_file()).accepted_licences


def test_a_kill_in_the_middle_costs_nothing(int4: Path, scope: ModelScopeServer) -> None:
    choose(huggingface_endpoint=NOBODY, modelscope_endpoint=scope.address)
    scope.inject("slow", 150_000, r"stored.*safetensors", times=0)
    arguments = [sys.executable, str(MAIN), "models", "pull", NAME, "--accept-licence", "--json"]
    environment = {**os.environ, "NO_PROXY": "*"}
    child = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, start_new_session=True
    )
    assert child.stdout is not None
    with child, child.stdout as lines:
        for line in lines:
            event = json.loads(line)
            if event.get("stage") == "downloading" and event["done"] > 150_000:
                break
        os.killpg(child.pid, signal.SIGKILL)
    assert not (paths.models() / NAME).exists()
    scope.faults.clear()
    asked = len(scope.asked(r"stored.*safetensors"))
    pull()
    need_same(int4)
    (again,) = [
        one for one in scope.asked(r"stored.*safetensors")[asked:] if not _is_header(one.headers.get("range", ""))
    ]
    assert int(again.headers["range"].removeprefix("bytes=").split("-")[0]) > 100_000


def _is_header(asked: str) -> bool:
    """The look at a model before it is fetched reads the beginning of its weights."""
    return asked.startswith("bytes=0-")


def test_no_hub_at_all_is_a_sentence(home: Path) -> None:
    choose(huggingface_endpoint=NOBODY, modelscope_endpoint=NOBODY)
    done = command("models", "pull", "Qwen/Qwen3-0.6B")
    assert done.returncode == 1 and "Hugging Face" in done.stderr and "Traceback" not in done.stderr
    found = command("models", "search", "qwen3", "--json")
    assert found.returncode == 0
    shown = command("models", "search", "qwen3-4b", COLUMNS="160")
    assert shown.returncode == 0 and "Qwen3-4B-Instruct-2507" in shown.stdout and "(" in shown.stdout
    told = json.loads(found.stdout)
    assert len(told["problems"]) == 2 and any(model["name"] == "Qwen3-0.6B" for model in told["models"])
    assert all(model["fit"] for model in told["models"] if model["name"].startswith("Qwen3-"))


def test_consent_to_one_nameless_licence_is_none_to_another(int4: Path) -> None:
    with ModelScopeServer() as scope:
        for name in ("a", "b"):
            scope.publish(f"someone/{name}", int4, licence="other")
        choose(huggingface_endpoint=NOBODY, modelscope_endpoint=scope.address)
        assert command("models", "pull", "someone/a", "--from", "modelscope", "--accept-licence").returncode == 0
        refused = command("models", "pull", "someone/b", "--from", "modelscope")
        assert refused.returncode == 1 and "someone/b" in refused.stderr and "--accept-licence" in refused.stderr
