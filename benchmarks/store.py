"""A conversation of 10,000 messages: open it, search it, save into it while a reply streams; prints JSON.

    python benchmarks/store.py [MESSAGES]

Every figure is the median of RUNS through the store's own door (thread, transaction, records), in milliseconds.
`first` is the first of them in a fresh process, with cold statement caches.
"""

from __future__ import annotations

import json
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core import store as ops
from core.chat.turns import ReplyFigures
from core.store.store import Store

RUNS = 15
OPEN_MS, SEARCH_MS = 150, 50
QUERIES = ("attention", "transformer kernel", "注意力", "智能", "模", "a", "never written", "message 9999")
ENGLISH = "The attention kernel of a transformer reads keys and values, then writes one row of the result. "
CHINESE = "人工智能模型的注意力机制读取键和值，然后写出一行结果。"
FIGURES = ReplyFigures(512, 128, 0.3, 42.0, 256, 0.0, 32768)


def fill(s: Any, count: int) -> int:
    """One branch, questions and answers in turn, half of each language, about 500 bytes each."""
    made = ops.conversations.create(s, model="starter")
    parent: int | None = None
    for i in range(count):
        text = f"message {i}: " + (ENGLISH * 5 if i % 4 < 2 else CHINESE * 6)
        if i % 2:
            parent = ops.replies.start(s, made.id, parent_id=parent, model="starter").id
            ops.replies.finish(s, parent, text, "", ops.replies.End("done", FIGURES))
        else:
            parent = ops.messages.append(s, made.id, "user", text, parent_id=parent).id
    return made.id


def timed(store: Store, work: Callable[[Any], object]) -> dict[str, float]:
    took = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        store.run(work)
        took.append(1000 * (time.perf_counter() - begun))
    return {"median": round(statistics.median(took), 2), "first": round(took[0], 2), "max": round(max(took), 2)}


def measure(folder: Path, count: int) -> dict[str, Any]:
    with Store(folder / "workbench.db", folder / "backups") as store:
        conversation = store.run(lambda s: fill(s, count))
    with Store(folder / "workbench.db", folder / "backups") as store:
        begun = time.perf_counter()
        store.run(lambda s: ops.conversations.recent(s))
        ready_ms = 1000 * (time.perf_counter() - begun)
        opening = timed(store, lambda s: ops.messages.branch(s, conversation))
        searching = {query: timed(store, lambda s, q=query: ops.search.everything(s, q)) for query in QUERIES}
        last = store.run(lambda s: ops.messages.branch(s, conversation))[-1]
        saving = timed(store, lambda s: ops.replies.save(s, last.id, "word " * 4000, ""))
        listing = timed(store, lambda s: ops.conversations.recent(s))
    return {
        "open_ms": opening,
        "search_ms": searching,
        "save_20_kB_of_a_streaming_reply_ms": saving,
        "list_ms": listing,
        "reopen_store_ms": round(ready_ms, 1),
        "file_MB": round((folder / "workbench.db").stat().st_size / 1e6, 1),
    }


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="qwen-workbench-store-") as folder:
        figures = measure(Path(folder), count)
    figures["holds"] = {
        f"open <= {OPEN_MS} ms": figures["open_ms"]["median"] <= OPEN_MS,
        f"search <= {SEARCH_MS} ms": all(one["median"] <= SEARCH_MS for one in figures["search_ms"].values()),
    }
    figures |= {"messages": count, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    print(json.dumps(figures, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
