"""How fast a child worker starts, obeys and speaks: `python benchmarks/workers.py [asyncio|qasync]`; one JSON object.

Times are wall clock, so run it on a quiet machine; cpu_us_per_event is the front's own processor time.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.supervisor import WorkerSupervisor
from tests.helpers.fake_worker import ARGV, fake

STARTS, CANCELS, FLOODS, EVENTS = 20, 30, 5, 100_000

Figures = dict[str, float | str]


def spread(name: str, seconds: list[float]) -> Figures:
    return {
        f"{name}_median": round(1e3 * statistics.median(seconds), 2),
        f"{name}_max": round(1e3 * max(seconds), 2),
    }


async def starts() -> Figures:
    hello, stop = [], []
    for _ in range(STARTS):
        worker = WorkerSupervisor("inference", ARGV)
        begun = time.perf_counter()
        await worker.start()
        hello.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        await worker.stop()
        stop.append(time.perf_counter() - begun)
    return spread("hello_ms", hello) | spread("stop_ms", stop)


async def cancels(worker: WorkerSupervisor) -> Figures:
    took = []
    for _ in range(CANCELS):
        stream = worker.run(fake("slow"))
        await anext(stream)
        begun = time.perf_counter()
        worker.cancel("j1")
        async for _ in stream:
            pass
        took.append(time.perf_counter() - begun)
    return spread("cancel_ms", took)


async def floods(worker: WorkerSupervisor) -> Figures:
    """A worker that does nothing but speak, to one reader that does nothing but listen."""
    rates, costs = [], []
    for _ in range(FLOODS):
        begun, cpu = time.perf_counter(), time.process_time()
        async for _ in worker.run(fake("tokens", count=EVENTS)):
            pass
        rates.append(EVENTS / (time.perf_counter() - begun))
        costs.append(1e6 * (time.process_time() - cpu) / EVENTS)
    return {
        "events_per_s": round(statistics.median(rates)),
        "cpu_us_per_event": round(statistics.median(costs), 2),
    }


async def measure(loop_name: str) -> Figures:
    figures: Figures = {"benchmark": "workers", "loop": loop_name, "python": sys.version.split()[0]}
    figures |= await starts()
    async with WorkerSupervisor("inference", ARGV) as worker:
        figures |= await cancels(worker) | await floods(worker)
    return figures


def qt_loop() -> asyncio.AbstractEventLoop:
    from PySide6.QtWidgets import QApplication

    app = QApplication([])
    import qasync  # after PySide6: it takes the first Qt binding it finds

    loop: asyncio.AbstractEventLoop = qasync.QEventLoop(app)
    return loop


def main() -> None:
    loop_name = sys.argv[1] if len(sys.argv) > 1 else "asyncio"
    with asyncio.Runner(loop_factory=qt_loop if loop_name == "qasync" else None) as runner:
        print(json.dumps(runner.run(measure(loop_name))))


if __name__ == "__main__":
    main()
