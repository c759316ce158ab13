"""How long the window's thread is held by the Models page: opening its views, typing, and four downloads under way.

`python -m benchmarks.models_page` prints one JSON object. The real window, offscreen, with a worker that makes up its
bytes and tells of them a thousand times a second for each of four downloads. `max_ms`, `p99_ms`: the time between two
beats of a precise 2 ms timer, less those 2 ms; `cpu`: the processor time of the window's thread between two beats,
which neighbours on the machine do not change. `key`: from a key in the search field to the rows of the catalogue.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

WATCHED_S = 8.0
WORDS = ("qwen3", "coder 7b", "chat int4", "qwen2.5-14b-instruct")
DOWNLOADS = 4


class Watch:
    """Beats until it is stopped."""

    def __init__(self, window: Window) -> None:
        self.held: list[float] = []
        self.cpu: list[float] = []
        self._last, self._cpu = time.perf_counter(), time.thread_time()
        self._timer = QTimer(window, interval=2, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        self.held.append((now - self._last) * 1000 - 2)
        self.cpu.append((cpu - self._cpu) * 1000)
        self._last, self._cpu = now, cpu

    def stop(self) -> dict[str, float]:
        self._beat()
        self._timer.stop()
        return {
            "p99_ms": at(self.held, 0.99), "max_ms": at(self.held, 1), "p99_cpu_ms": at(self.cpu, 0.99),
            "max_cpu_ms": at(self.cpu, 1),
        }  # fmt: skip


def at(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(max(0.0, ordered[min(len(ordered) - 1, int(share * len(ordered)))]), 1)


async def until(holds: Any) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


async def opened(window: Window) -> dict[str, Any]:
    """Each view for the first time in this process, and again."""
    found: dict[str, Any] = {}
    for round_ in ("first", "again"):
        watch = Watch(window)
        page: Any = window.go("models")
        await until(lambda: page.is_ready)  # noqa: B023
        await asyncio.sleep(0.3)
        found[f"installed_{round_}"] = watch.stop()
        watch = Watch(window)
        page.show_view("discover")
        await until(lambda: page.discover.is_ready and page.discover.table.offers)  # noqa: B023
        await asyncio.sleep(0.5)
        found[f"discover_{round_}"] = watch.stop()
        watch = Watch(window)
        page.show_view("downloads")
        await asyncio.sleep(0.3)
        found[f"downloads_{round_}"] = watch.stop()
        if round_ == "first":
            window.rebuild()
            await asyncio.sleep(0.3)
    return found


async def typed(window: Window) -> dict[str, Any]:
    page: Any = window.go("models")
    page.show_view("discover")
    page.discover.fits.setChecked(False)
    keys: list[float] = []
    watch = Watch(window)
    for words in WORDS:
        for end in range(1, len(words) + 1):
            begin = time.perf_counter()
            page.discover.field.setText(words[:end])
            keys.append((time.perf_counter() - begin) * 1000)
            await asyncio.sleep(0.06)
        page.discover.field.setText("")
        await asyncio.sleep(0.1)
    return {"key_median_ms": at(keys, 0.5), "key_worst_ms": at(keys, 1), "window": watch.stop()}


async def downloading(window: Window, context: AppContext) -> dict[str, Any]:
    from app.services.library import Wanted
    from core.sources import Source

    told = 0

    def count(_: None) -> None:
        nonlocal told
        told += 1

    context.downloads.changed.listen(count)
    for number in range(DOWNLOADS):
        await context.downloads.add(Wanted(f"flood-{number}", (Source("huggingface", f"a/flood-{number}"),)), 1_000_000)
    await until(lambda: sum(item.state == "running" for item in context.downloads.items) == DOWNLOADS)
    found: dict[str, Any] = {}
    page: Any = window.go("models")
    for view in ("downloads", "discover", "installed"):
        page.show_view(view)
        await asyncio.sleep(0.5)
        told, watch = 0, Watch(window)
        await asyncio.sleep(WATCHED_S / 3)
        found[view] = watch.stop() | {"events_per_s": round(told / (WATCHED_S / 3))}
    return found


async def measure() -> int:
    from app.services.downloads import DownloadService
    from app.ui.start import _import_pages
    from core import paths
    from tests.helpers import fake_downloads, shelf_models
    from tests.helpers.fake_hubs import FakeDiscovery
    from tests.helpers.live_window import live

    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B)
    async with live(library=fake_downloads.ARGV) as (window, context):
        context.discovery = FakeDiscovery(context.discovery)
        context.downloads = DownloadService(context.store, context.library, context.hub_access.now, at_once=DOWNLOADS)
        window.rebuild()
        await context.chat.recover()  # opens the store, as the program has by then
        await asyncio.to_thread(_import_pages)
        await asyncio.sleep(1)
        report = {"open": await opened(window), "search": await typed(window)}
        report["four_downloads"] = await downloading(window, context)
        print(json.dumps(report), flush=True)
    return 0


def main() -> int:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory(prefix="qwen-workbench-bench-") as home:
        os.environ["QWEN_WORKBENCH_HOME"] = home
        from app.ui.start import make_application

        app = make_application()
        from app.ui import aio

        return aio.run(app, measure())


if __name__ == "__main__":
    raise SystemExit(main())
