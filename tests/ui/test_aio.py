"""The rules of app/ui/aio.py, with a real worker behind a real widget; and what PySide6 itself must hold."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shiboken6
from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtWidgets import QApplication, QDialog, QLabel, QPushButton

from app.supervisor import State
from app.ui import aio
from core.protocol.messages import TextDelta
from tests.helpers.fake_worker import fake
from tests.helpers.waiting import until
from tests.workers.children import worker

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.loops("qasync")


async def test_stream_goes_on_while_a_dialog_is_open() -> None:
    label = QLabel()
    dialog = QDialog()
    async with worker() as w:

        async def show() -> None:
            async for event in w.run(fake("tokens", count=3000)):
                if isinstance(event, TextDelta):
                    label.setText(event.text)
            assert dialog.isVisible()
            dialog.accept()

        task = aio.spawn(show(), "show")
        assert await aio.ask(dialog) == QDialog.DialogCode.Accepted
        await task
        assert label.text() == "t2999 " and w.state is State.READY


async def test_asking_ends_with_the_task_that_asks() -> None:
    dialog = QDialog()
    task = asyncio.create_task(aio.ask(dialog))
    await until(dialog.isVisible)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not shiboken6.isValid(dialog))


async def test_error_in_a_slot_reaches_the_crash_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: seen.append(error))

    async def boom() -> None:
        raise ValueError("in a slot")

    button = QPushButton()
    button.clicked.connect(lambda: aio.spawn(boom(), "boom"))
    button.click()
    await until(lambda: seen)
    assert str(seen[0]) == "in a slot" and not aio._tasks


async def test_60_hz_beside_20_000_events_per_second() -> None:
    """The median is held to, not the tail: the machine may be shared, the benchmark shows the tail."""
    beats: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    async with worker() as w:
        timer.start(16)
        count = 0
        async for _ in w.run(fake("paced", rate=20_000, count=30_000)):
            count += 1
        timer.stop()
    late = sorted(b - a - 0.016 for a, b in itertools.pairwise(beats))
    assert count == 30_001 and len(beats) > 40 and late[len(late) // 2] < 0.008


class Sender(QObject):
    flagged = Signal(bool)
    given = Signal(object)


def test_5000_signals_and_void_calls_do_not_wear_out_true_and_none(qapp: QApplication) -> None:
    """PySide6 6.12.0 on Python 3.11 drops a reference to True or None with each, and aborts within a thousand."""
    sender, label = Sender(), QLabel()
    heard: list[object] = []
    sender.flagged.connect(heard.append)
    sender.given.connect(heard.append)
    for i in range(5000):
        sender.flagged.emit(i % 2 == 0)
        sender.given.emit(None)
        assert label.setEnabled(i % 2 == 0) is None  # type: ignore[func-returns-value]
        button_slot = sender.flagged.connect(lambda on: None)
        assert sender.flagged.disconnect(button_slot)
    assert heard == [True, None, False, None] * 2500


WINDOW = """
import asyncio, sys
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QWidget
from app.ui import aio
from tests.helpers.fake_worker import fake
from tests.workers.children import collect, worker

async def main():
    closed = asyncio.Event()
    app.lastWindowClosed.connect(closed.set)
    window = QWidget(); window.show()
    async with worker() as w:
        aio.spawn(collect(w, fake("slow")), "job")
        QTimer.singleShot(200, window.close)
        await closed.wait()
    print(w.outcome.code, w.state)
    return 0

app = QApplication([])
sys.exit(aio.run(app, main()))
"""


def test_closing_the_window_stops_the_worker_and_ends_cleanly() -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", WINDOW]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == "worker_ended State.STOPPED"


async def test_callbacks_left_at_the_end_find_the_loop_they_belong_to() -> None:
    """qasync runs them once it has stopped. A loop made in its place would be closed by nobody, and be found at some
    collection in another test; an assertion that fails there is an error in the log, which fails this one."""
    loop = asyncio.get_running_loop()

    def again(times: int) -> None:
        assert asyncio.get_event_loop() is loop
        if times:
            loop.call_soon(again, times - 1)

    again(100)
