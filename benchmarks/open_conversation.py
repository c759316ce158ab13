"""From the click on a conversation of 10,000 messages to its last messages on screen, and search from the field to the
list: `python -m benchmarks.open_conversation` prints one JSON object.

The real window, offscreen, with the real store and 10,000 messages in it. Each
opening comes from another conversation. `whole_ms` is when all 10,000 can be scrolled; `stall_ms` the longest time the
window's thread was held meanwhile, from the lateness of a precise 5 ms timer.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

MESSAGES, RUNS = 10_000, 7
WORDS = "The answer number {n} speaks of **rivers**, `code` and the 长江 in more words than a line.\n\n- one\n- two"


class Stall:
    """The longest time between two beats of a 5 ms timer, less those 5 ms."""

    def __init__(self, window: Window) -> None:
        self.worst_ms = 0.0
        self._last = time.perf_counter()
        self._timer = QTimer(window, interval=5, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self) -> None:
        now = time.perf_counter()
        self.worst_ms = max(self.worst_ms, (now - self._last) * 1000 - 5)
        self._last = now


async def measure(window: Window, context: AppContext) -> None:
    from app.ui.tour import chat_page, until
    from core import store

    window.resize(1440, 900)
    panel = await chat_page(window)
    short = await context.chat.create()
    long = await context.chat.create()

    def fill(s: object) -> None:
        parent = None
        for n in range(1, MESSAGES + 1):
            role = "user" if n % 2 else "assistant"
            row = store.messages.add(s, long.id, role, parent, text=WORDS.format(n=n))  # type: ignore[arg-type]
            store.search.index_message(s, row.id, row.text)  # type: ignore[arg-type]
            parent = row.id

    await context.store.call(fill)
    shown, whole, stalls, found = [], [], [], []
    for _ in range(RUNS):
        await panel.open(short.id)
        await asyncio.sleep(0.2)
        stall = Stall(window)
        begin = time.perf_counter()
        task = asyncio.get_running_loop().create_task(panel.open(long.id))
        await until_fast(lambda: bool(panel.messages) and panel.transcript.row(panel.messages[-1].id) is not None)
        window.grab()
        shown.append((time.perf_counter() - begin) * 1000)
        await task
        await until_fast(lambda: len(panel.transcript.message_ids()) == MESSAGES)
        whole.append((time.perf_counter() - begin) * 1000)
        stalls.append(stall.worst_ms)
        begin = time.perf_counter()
        hits = await context.chat.search("rivers 长江", limit=500)
        panel.sidebar.show_hits(hits)
        found.append((time.perf_counter() - begin) * 1000)
        await until(lambda: panel.sidebar.list.shows_hits, 5)
        panel.refresh_list()
    report = {
        "what": "conversation of 10,000 messages: click to its last messages painted; search to its list",
        "must": {"open_ms": 150, "search_ms": 50},
        "open_ms": summary(shown),
        "whole_ms": summary(whole),
        "stall_ms": summary(stalls),
        "search_ms": summary(found),
    }
    print(json.dumps(report, indent=1))


def summary(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 1), "first": round(values[0], 1), "max": round(max(values), 1)}


async def until_fast(condition: object) -> None:
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0.001)


def main() -> None:
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    with tempfile.TemporaryDirectory() as home:
        os.environ["QWEN_WORKBENCH_HOME"] = home
        from app.ui.start import open_window

        open_window(guide=measure)


if __name__ == "__main__":
    main()
