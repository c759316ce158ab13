"""Every `async def` test runs twice: on plain asyncio and on qasync. A test fails
if it leaves a task, a file descriptor, a child process or an error in the log."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"
LOOPS = ("asyncio", "qasync")


def loop_factory(name: str) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        return asyncio.new_event_loop()
    import qasync
    from PySide6.QtWidgets import QApplication

    app = QApplication.instance() or QApplication([])
    app.setQuitOnLastWindowClosed(False)
    return qasync.QEventLoop(app)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if inspect.iscoroutinefunction(metafunc.function):
        marker = metafunc.definition.get_closest_marker("loops")
        metafunc.fixturenames.append("loop_name")
        metafunc.parametrize("loop_name", marker.args if marker else LOOPS)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All state of a test lies in its own folder."""
    place = tmp_path / "home"
    monkeypatch.setenv("QWEN_WORKBENCH_HOME", str(place))
    return place


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    args = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames if name != "loop_name"}
    loop_name = pyfuncitem.callspec.params["loop_name"]
    with asyncio.Runner(debug=True, loop_factory=lambda: loop_factory(loop_name)) as runner:
        runner.get_loop().slow_callback_duration = 2.0
        runner.run(leak_checked(pyfuncitem.obj, args))
    return True


async def leak_checked(test: Callable[..., Any], args: dict[str, Any]) -> None:
    before = set(os.listdir("/proc/self/fd"))
    await test(**args)
    deadline = time.monotonic() + 2
    while (left := leaks(before)) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert not left
    gc.collect()


def leaks(fds_before: set[str]) -> list[str]:
    tasks = [repr(t) for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    fds = set(os.listdir("/proc/self/fd")) - fds_before
    children = [repr(p) for p in psutil.Process().children(recursive=True)]
    threads = [t.name for t in threading.enumerate() if t.name.startswith(("waitpid", "asyncio-waitpid"))]
    return tasks + sorted(fds)[1:] + children + threads  # one fd is listdir's own


@pytest.fixture(autouse=True)
def _quiet(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Any:
    yield
    if not request.node.get_closest_marker("errors_logged"):
        loud = [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.WARNING]
        loud = [m for m in loud if not m.startswith("Close running child process")]  # asyncio debug mode
        assert not loud
