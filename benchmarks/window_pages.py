"""How long the window's thread is held by the load dialog, the server, tokenizer, help and profiler pages.

`python -m benchmarks.window_pages` prints one JSON object. The real window, offscreen, with a worker that has no model;
the model whose files are looked at has the shape of Qwen-7B (sparse files). Each figure is the longest time between two
beats of a precise 2 ms timer, less those 2 ms, in ms: median and worst of the runs; `cpu` is the processor time of the
window's thread between two beats, which neighbours on the machine do not change. What is first touched in a process
costs more (Qt's classes are made then); `first` is that one.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

RUNS = 7
Held = tuple[float, float]  # ms by the clock, ms of the processor, each at its worst
TEXT = "Qwen reads 中文, English and code: def f(x): return x**2  # 你好，世界！\n"
BYTES = 100_000


class Watch:
    def __init__(self, window: Window) -> None:
        self.worst_ms = self.worst_cpu_ms = 0.0
        self._last, self._cpu = time.perf_counter(), time.thread_time()
        self._timer = QTimer(window, interval=2, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        self.worst_ms = max(self.worst_ms, (now - self._last) * 1000 - 2)
        self.worst_cpu_ms = max(self.worst_cpu_ms, (cpu - self._cpu) * 1000)
        self._last, self._cpu = now, cpu

    def stop(self) -> None:
        self._beat()
        self._timer.stop()


@asynccontextmanager
async def watched(window: Window, into: list[Held]) -> AsyncIterator[None]:
    await asyncio.sleep(0.1)
    watch = Watch(window)
    yield
    await asyncio.sleep(0.05)
    watch.stop()
    into.append((watch.worst_ms, watch.worst_cpu_ms))


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


async def dialog(window: Window, context: AppContext) -> dict[str, Any]:
    from app.ui.load.dialog import LoadDialog

    opening: list[Held] = []
    choosing: list[Held] = []
    loading: list[Held] = []
    for _ in range(RUNS):
        async with watched(window, opening):
            window.ask_load("first")
            await until(lambda: any(one.is_ready for one in window.findChildren(LoadDialog)))
        shown = next(one for one in window.findChildren(LoadDialog) if one.is_ready)
        async with watched(window, choosing):
            for index in (5, 4, 0):
                shown.choices.rows["weights"].control.choose(index)
                await asyncio.sleep(0.02)
            assert shown.choices.length is not None
            for place in range(shown.choices.length.slider.maximum()):
                shown.choices.length.slider.setValue(place)
                await asyncio.sleep(0.005)
        async with watched(window, loading):
            shown.load_now()
            await until(lambda: not shown.is_loading and shown.view.current == 1)  # noqa: B023
        shown.reject()
        await until(lambda: not window.findChildren(LoadDialog))
    return {"open": figures(opening), "choose": figures(choosing), "load_and_report": figures(loading)}


async def tokenizer(window: Window) -> dict[str, Any]:
    page: Any = window.go("tokenizer")
    await until(lambda: page.found is not None)
    text = TEXT * (BYTES // len(TEXT.encode()) + 1)
    pasting: list[Held] = []
    typing: list[Held] = []
    resizing: list[Held] = []
    scrolling: list[Held] = []
    settled: list[float] = []
    for run in range(RUNS):
        async with watched(window, pasting):
            begin = time.perf_counter()
            page.text.setPlainText("x" * 20 * run + text)
            length = len(page.text.toPlainText())
            await until(lambda: page.asked_for == length and page.view.is_whole)  # noqa: B023
            settled.append((time.perf_counter() - begin) * 1000)
        async with watched(window, typing):
            for _ in range(10):
                page.text.insertPlainText("x")
                await asyncio.sleep(0.05)
            length = len(page.text.toPlainText())
            await until(lambda: page.asked_for == length and page.view.is_whole)  # noqa: B023
        async with watched(window, scrolling):
            for place in range(0, page.view.bar.maximum(), max(1, page.view.bar.maximum() // 40)):
                page.view.bar.setValue(place)
                await asyncio.sleep(0.005)
        async with watched(window, resizing):
            window.resize(1300 + 20 * run, 850)
            await until(lambda: page.view.is_whole)
    found = {"tokens": len(page.found.tokens), "text_bytes": len(text.encode())}
    shown = {
        "paste": figures(pasting),
        "type": figures(typing),
        "scroll": figures(scrolling),
        "resize": figures(resizing),
    }
    return {**found, **shown, "text_to_all_tokens_ms": round(statistics.median(settled), 1)}


async def server(window: Window) -> dict[str, Any]:
    opening: list[Held] = []
    for _ in range(RUNS):
        async with watched(window, opening):
            page: Any = window.go("server")
            await until(lambda: page.local.is_built)  # noqa: B023
        window.rebuild()
    return {"open": figures(opening)}


async def questions(window: Window) -> dict[str, Any]:
    building: list[Held] = []
    async with watched(window, building):
        page: Any = window.go("help")
        await until(lambda: page.is_ready)
    searching: list[Held] = []
    for words in ("int4", "", "memory", "", "上下文", "", "token"):
        async with watched(window, searching):
            page.search.setText(words)
            await asyncio.sleep(0.25)
    return {"open_ms": round(building[0][0], 1), "open_cpu_ms": round(building[0][1], 1), "search": figures(searching)}


async def profiler(window: Window, context: AppContext) -> dict[str, Any]:
    """Tables with every cell measured, one after the other, as their sections are made and shown."""
    from tests.helpers import profile_tables as tables

    plans = {"forms": tables.FORMS, "readme": tables.README, "kv": tables.KV, "training": tables.TRAINING}
    runs = {name: (await tables.put(context, plan, name)).id for name, plan in plans.items()}
    page: Any = window.go("profiler")
    await until(lambda: page.shown is not None and page.run_view.is_built)
    found: dict[str, Any] = {}
    for name, run_id in runs.items():
        held: list[Held] = []
        for other in (None, *runs.values()):
            if other is not None:
                page.show_run(other)
                await until(lambda: page.shown is not None and page.shown.run.id == other)  # noqa: B023
                await asyncio.sleep(0.2)
            if other != run_id:
                async with watched(window, held):
                    page.show_run(run_id)
                    await until(lambda: page.shown is not None and page.shown.run.id == run_id)  # noqa: B023
                    await page.run_view.until_filled()
                    await asyncio.sleep(0.2)
        found[name] = figures(held)
    return found


def figures(held: list[Held]) -> dict[str, float]:
    rest = [wall for wall, _ in held[1:]]
    return {
        "first_ms": round(held[0][0], 1),
        "median_ms": round(statistics.median(rest), 1),
        "worst_ms": round(max(rest), 1),
        "first_cpu_ms": round(held[0][1], 1),
        "worst_cpu_ms": round(max(cpu for _, cpu in held[1:]), 1),
    }


async def measure() -> int:
    from app.ui.start import _import_pages
    from app.ui.tour import chat_page
    from core import paths
    from tests.helpers import shelf_models
    from tests.helpers.live_window import live

    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B)
    async with live() as (window, context):
        await asyncio.to_thread(_import_pages)
        await chat_page(window)
        report = {
            "server": await server(window),
            "load_dialog": await dialog(window, context),
            "tokenizer": await tokenizer(window),
            "help": await questions(window),
            "profiler": await profiler(window, context),
        }
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
