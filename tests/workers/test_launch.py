"""The door of worker processes: the command lines, and `main.py --worker NAME`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.launch import MAIN, detached_argv, worker_argv
from app.supervisor import WorkerSupervisor
from tests.workers.children import pid


def test_command_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_argv("inference") == [sys.executable, str(MAIN), "--worker", "inference"]
    assert detached_argv("training", Path("/runs/a b")) == [*worker_argv("training"), "/runs/a b"]
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert worker_argv("inference") == [sys.executable, "--worker", "inference"]


@pytest.mark.parametrize("name", ["nobody", "../x", "os.path"])
def test_unknown_worker_is_refused_from_any_directory(name: str, tmp_path: Path) -> None:
    result = subprocess.run(worker_argv(name), capture_output=True, text=True, cwd=tmp_path, timeout=20)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"There is no worker called {name}.")


CHILDREN = sorted(file.stem.removesuffix("_worker") for file in (MAIN.parent / "app" / "workers").glob("*_worker.py"))


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("name", [name for name in CHILDREN if not name.startswith("training")])
async def test_every_child_says_hello_before_anything_heavy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any directory, and within 400 ms: of its own processor time, since the machine may be shared."""
    monkeypatch.chdir(tmp_path)
    async with WorkerSupervisor(name, worker_argv(name)) as worker:
        assert sum(psutil.Process(pid(worker)).cpu_times()[:2]) < 0.4


def test_the_door_loads_nothing_of_the_window() -> None:
    code = "import sys, main, app.workers.host; print([m for m in sys.modules if m.split('.')[0] in {names}])"
    names = {"PySide6", "qasync", "torch", "asyncio", "typer", "numpy"}
    argv = [sys.executable, "-c", code.format(names=names)]
    assert subprocess.check_output(argv, text=True, cwd=MAIN.parent).strip() == "[]"
