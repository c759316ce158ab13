"""Opening long things: `python -m benchmarks.transcript` prints one JSON object, ms of wall clock and of CPU, medians.

messages: a conversation of 10,000 messages, from `show_branch` to the picture of the visible ones. list: 10,000 rows of
the conversation list, the same, then one row that moves to the top.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication, QWidget

from app.ui import theme
from app.ui.transcript.view import TranscriptView
from app.ui.widgets.conversations import ConversationList
from benchmarks.stream import SECTION
from core.store.records import ConversationSummary, Message

COUNT = 10_000
RUNS = 5


def messages() -> list[Message]:
    now = datetime.now(UTC)
    parts = SECTION.format(n=1).split("\n\n")
    result = []
    for number in range(1, COUNT + 1):
        is_user = number % 2 == 1
        text = f"Question {number}: 怎样读一个大文件？" if is_user else "\n\n".join(parts[number % 5 :])
        role = "user" if is_user else "assistant"
        result.append(Message(number, 1, number - 1 or None, role, text, "", "bench", "done", None, "", {}, now))
    return result


def timed(app: QApplication, widget: QWidget, do: Callable[[], None]) -> tuple[float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    do()
    widget.show()
    app.processEvents()
    widget.grab()
    return (time.perf_counter() - start) * 1000, (time.process_time() - cpu) * 1000


def middle(runs: list[tuple[float, float]]) -> dict[str, float]:
    wall, cpu = (round(statistics.median(column), 1) for column in zip(*runs, strict=True))
    return {"ms": wall, "cpu_ms": cpu}


def main() -> None:
    app = QApplication(sys.argv[:1])
    theme.apply(app, "light")
    branch = messages()
    opens, jumps = [], []
    for _ in range(RUNS + 1):
        view = TranscriptView()
        view.resize(900, 800)
        opens.append(timed(app, view, lambda view=view: view.show_branch(branch)))
        jumps.append(timed(app, view, lambda view=view: view.jump_to(5_000)))
        view.close()
    now = datetime.now(UTC)
    rows = [ConversationSummary(n, f"Chat {n}", "words " * 8, n < 3, now - timedelta(hours=n)) for n in range(COUNT)]
    moved = [*rows[:5000], *rows[5001:], ConversationSummary(5000, "Chat 5000", "new", False, now)]
    lists, updates = [], []
    for _ in range(RUNS):
        shown = ConversationList()
        shown.resize(264, 800)
        lists.append(timed(app, shown, lambda shown=shown: shown.show_conversations(rows)))
        updates.append(timed(app, shown, lambda shown=shown: shown.show_conversations(moved)))
        shown.close()
    figures = {
        "messages_open_first": middle(opens[:1]),
        "messages_open": middle(opens[1:]),
        "messages_jump": middle(jumps[1:]),
        "list_open": middle(lists),
        "list_update": middle(updates),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
