"""How long the window's thread is held by the page of a fine-tune: opening a long one, and one that makes steps fast.

`python -m benchmarks.training_page [SECONDS]` prints one JSON object. The real window, offscreen. `open`: a run of
200,000 steps with seven figures each, from the click to the whole history in the charts. `live`: a detached process
makes about 2,000 steps a second while each chart is in view in turn. `p99_ms`, `max_ms`: the time between two beats of
a precise 2 ms timer, less those 2 ms; `cpu`: the processor time of the window's thread between two beats, which
neighbours on the machine do not change. `update`: one update of the page, `flush`: one taking in of new steps.
`bytes_per_step`: by which the process grew while it watched.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.models_page import Watch, at, until

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.training_run.page import RunPage
    from app.ui.window import Window

SECONDS = 20.0
HISTORY = 200_000
STEP_S = 0.0003  # of sleep; with its file and its socket a step takes half a millisecond


class Timed:
    """A function that notes how long each call takes."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.taken: list[float] = []
        self._work = work

    def __call__(self) -> None:
        begin = time.perf_counter()
        self._work()
        self.taken.append((time.perf_counter() - begin) * 1000)

    def figures(self) -> dict[str, float]:
        taken = self.taken or [0.0]
        return {"count": len(self.taken), "p99_ms": at(taken, 0.99), "max_ms": at(taken, 1)}


async def opened(window: Window, page: RunPage, id: str) -> dict[str, Any]:
    watch, begin = Watch(window), time.perf_counter()
    page.show_run(id)
    await until(lambda: page.body is not None and page.body.charts is not None)
    built = time.perf_counter() - begin
    body: Any = page.body
    await until(lambda: body.charts.feed.is_loaded)
    whole = time.perf_counter() - begin
    await asyncio.sleep(1)
    return {"built_s": round(built, 2), "whole_s": round(whole, 2)} | watch.stop()


async def followed(window: Window, context: AppContext, page: RunPage, id: str, seconds: float) -> dict[str, Any]:
    from app.ui.training_run.charts import CHARTS

    page.show_run(id)
    await until(lambda: page.body is not None and page.body.charts is not None)
    body: Any = page.body
    await context.training.resume(id)
    await until(lambda: len(body.charts.feed.lines["loss"].series) > 1000)
    update, flush = Timed(page._show), Timed(body.charts.feed._flush)
    for paced, timed in ((page._wait, update), (body.charts.feed._paced, flush)):
        paced.timeout.disconnect()
        paced.timeout.connect(timed)
    for name in CHARTS:
        body.charts.show_chart(name)
        await asyncio.sleep(0.3)
    process = psutil.Process()
    before, begin = context.training.run(id).status.step, time.perf_counter()
    held, watch = process.memory_info().rss, Watch(window)
    for name in CHARTS:
        body.charts.show_chart(name)
        await asyncio.sleep(seconds / len(CHARTS))
    steps, taken = context.training.run(id).status.step - before, time.perf_counter() - begin
    found = watch.stop() | {"steps_per_s": round(steps / taken), "update": update.figures(), "flush": flush.figures()}
    found["bytes_per_step"] = round((process.memory_info().rss - held) / steps)
    await context.training.kill(id)
    return found


def long_run() -> str:
    from core.training import run_files
    from tests.helpers import run_pages

    run = run_pages.put(run_pages.recipe("long"), steps=0, end=run_pages.finished())
    with (run.path / run_files.METRICS).open("w") as out:
        for step in range(1, HISTORY + 1):
            out.write(json.dumps({"step": step} | run_pages.values(step)) + "\n")
    return run.path.name


async def measure(seconds: float) -> int:
    from app.ui.start import _import_pages
    from app.ui.training_run.page import RunPage
    from tests.helpers import fake_training, run_pages
    from tests.helpers.live_window import live

    long, fast = long_run(), run_pages.put(run_pages.recipe("fast"), steps=0, fake={"steps": 10**7, "step_s": STEP_S})
    async with live(training=fake_training.argv) as (window, context):
        await context.chat.recover()  # opens the store, as the program has by then
        await context.training.open()
        await asyncio.to_thread(_import_pages)
        page = RunPage(window, context)
        window._stack.addWidget(page)
        window._stack.setCurrentWidget(page)
        await asyncio.sleep(1)
        report: dict[str, Any] = {"open_first": await opened(window, page, long)}
        await followed(window, context, page, fast.path.name, 1)  # warm
        report["open"] = await opened(window, page, long)
        report["live"] = await followed(window, context, page, fast.path.name, seconds)
        report["load_average"] = round(os.getloadavg()[0], 2)
        page.leave()
        print(json.dumps(report), flush=True)
    return 0


def main() -> int:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory(prefix="qwen-workbench-bench-") as home:
        os.environ["QWEN_WORKBENCH_HOME"] = home
        from app.ui.start import make_application

        app = make_application()
        from app.ui import aio

        return aio.run(app, measure(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))


if __name__ == "__main__":
    raise SystemExit(main())
