"""Every `async def` test runs twice: on plain asyncio and on qasync. A test fails if it leaves a task, a file
descriptor, a child process, a thread that keeps the program alive, or an error in the log."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

os.environ["QT_QPA_PLATFORM"] = "offscreen"
# No test, nor a process that it starts, touches the key ring of whoever runs it. And one that a test module defines is
# no other test's: keyring takes the best class there is, and one test's token went out with the next one's requests.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
# Built once for all tests and their workers, whose homes come and go.
os.environ.setdefault(
    "QWEN_WORKBENCH_NATIVE", str(Path(tempfile.gettempdir()) / f"qwen-workbench-native-{os.getuid()}")
)
LOOPS = ("asyncio", "qasync")
PATIENCE_S = 2.0
BROWSERS = ("chromium", "chrome", "headless_shell")
_spared = [0]  # modules that are spared by the collector

_application: QApplication | None = None


def application() -> QApplication:
    """The one QApplication of the session. Held here: a second one in a process, or a dead one, crashes Qt."""
    global _application
    if _application is None:
        from PySide6.QtWidgets import QApplication

        running = QApplication.instance()  # a test of widgets without a loop may have made it
        _application = running if isinstance(running, QApplication) else QApplication([])
        _application.setQuitOnLastWindowClosed(False)
    return _application


@pytest.fixture(scope="session")
def qapp() -> QApplication:
    """For tests of widgets without a loop; an async test on qasync has it anyway."""
    return application()


def loop_factory(name: str) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        return asyncio.new_event_loop()
    app = application()  # before qasync, which takes the first Qt binding it finds
    import qasync

    loop: asyncio.AbstractEventLoop = qasync.QEventLoop(app)
    return loop


LONGEST = ("test_finetune_tour.py", "test_tour.py", "test_ranks.py")
COLLECTED = pytest.StashKey[list[pytest.Item]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Every test, before any of them is deselected: what the documents say is checked against them. Then the longest
    files come first and those of one or two tests last, so that no processor has nothing to do at the end."""
    config.stash[COLLECTED] = list(items)
    tests = Counter(item.path for item in items)
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (places.get(item.path.name, len(places)), -tests[item.path]))


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
    spare_modules()
    loop_name = str(pyfuncitem.callspec.params["loop_name"])
    try:
        with asyncio.Runner(debug=True, loop_factory=lambda: loop_factory(loop_name)) as runner:
            # qasync asks which loop is the current one also for callbacks that are left once it has stopped; without
            # an answer asyncio makes a plain loop, which nobody closes.
            asyncio.set_event_loop(runner.get_loop())
            runner.get_loop().slow_callback_duration = 2.0
            runner.run(leak_checked(pyfuncitem.obj, args))
    finally:
        asyncio.set_event_loop(None)
    # What a closed loop leaves (timers that are QObjects) must be collected in this thread: collected by chance in
    # another one, such as the store's, it takes the process down.
    gc.collect()
    return True


def spare_modules() -> None:
    """What was imported stays for good, so collections need not look through it again: with torch loaded that takes
    most of a second, twice in each of these tests."""
    if len(sys.modules) > _spared[0]:
        gc.collect()
        gc.freeze()
        _spared[0] = len(sys.modules)


async def leak_checked(test: Callable[..., Any], args: dict[str, Any]) -> None:
    before = set(os.listdir("/proc/self/fd"))
    await test(**args)
    deadline = time.monotonic() + PATIENCE_S
    while (left := leaks(before)) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert not left
    gc.collect()


def leaks(fds_before: set[str]) -> list[str]:
    tasks = [repr(t) for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    fds = [link for fd in set(os.listdir("/proc/self/fd")) - fds_before if (link := _opened(fd))]
    waiters = [t.name for t in threading.enumerate() if t.name.startswith(("waitpid", "asyncio-waitpid"))]
    return tasks + fds + children() + waiters


def _opened(fd: str) -> str:
    """What a descriptor is; "" for one that is gone (listdir's own), and for those of the threads Qt paints with."""
    try:
        link = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
    return "" if link == "anon_inode:[eventfd]" else f"{fd}: {link}"


def children() -> list[str]:
    """Without those that a browser has of its own, which come and go as it likes."""
    found, inside = {}, set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found[process.pid] = process.name()
            if found[process.pid].startswith(BROWSERS):
                inside |= {child.pid for child in process.children()}
    return [f"{pid}: {name}" for pid, name in found.items() if pid not in inside]


def holding_threads() -> set[threading.Thread]:
    """Threads the interpreter would wait for at its end."""
    return {t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()}


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Outside of any loop, so that the loop's own executor is gone by then."""
    threads, processes = holding_threads(), set(children())
    yield
    deadline = time.monotonic() + PATIENCE_S
    while (left := (holding_threads() - threads) | (set(children()) - processes)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


@pytest.fixture(autouse=True)
def _quiet(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    if not request.node.get_closest_marker("errors_logged"):
        loud = [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.WARNING]
        loud = [m for m in loud if not m.startswith("Close running child process")]  # asyncio debug mode
        assert not loud


@pytest.fixture(scope="session")
def starter_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the real starter model, pulled once a session as a user would."""
    from tests.helpers.starter import starter_home

    return starter_home(tmp_path_factory.mktemp("starter")) / "models"


@pytest.fixture(scope="session")
def qwen_tiktoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published `qwen.tiktoken`."""
    from tests.helpers import qwen_vocabulary

    return qwen_vocabulary.fetch(tmp_path_factory.mktemp("qwen"))


@pytest.fixture
def home_with_starter(home: Path, starter_models: Path) -> Path:
    """This test's own home, whose settings name the models folder with the starter."""
    from core import paths, settings

    settings.save(paths.settings_file(), settings.Settings(models_folder=str(starter_models)))
    return home
