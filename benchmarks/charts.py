"""How long the window's thread is held by charts that grow.

`python -m benchmarks.charts [SECONDS]` prints one JSON object. Four smoothed lines of a million points each, all in
view, take 2,000 further points a second each, 20 times a second. `draw` is one drawing with its painting, `append` one
taking in of points for all lines, `hold` the time between two beats of a precise 2 ms timer, less those 2 ms, all in ms
by the clock; `cpu` is the processor time of a drawing, which neighbours change less. `fill`: one line's first million.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np
from PySide6.QtCore import QCoreApplication, QObject, Qt, QTimer
from PySide6.QtWidgets import QApplication

LINES, POINTS, RATE, TIMES = 4, 1_000_000, 2000, 20


class Watch(QObject):
    """Each draw with its painting, and each time the loop did not turn."""

    def __init__(self, chart: Any) -> None:
        super().__init__()
        self.draws: list[float] = []
        self.cpu: list[float] = []
        self.holds: list[float] = []
        self._chart, self._draw = chart, chart.compose
        chart.compose = self.compose
        self._last = time.perf_counter()
        self._timer = QTimer(self, interval=2, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def compose(self) -> None:
        start, cpu = time.perf_counter(), time.thread_time()
        self._draw()
        self._chart.plot.viewport().repaint()
        self.draws.append((time.perf_counter() - start) * 1000)
        self.cpu.append((time.thread_time() - cpu) * 1000)

    def _beat(self) -> None:
        now = time.perf_counter()
        self.holds.append(max(0.0, (now - self._last) * 1000 - 2))
        self._last = now


def figures(values: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2), "max_ms": round(max(values), 2)}


def points(start: int, count: int, noise: np.random.Generator) -> Any:
    steps = np.arange(start, start + count, dtype=np.float64)
    return np.stack((steps, 1 + np.exp(-steps / 2e5) + noise.normal(0, 0.1, count)), axis=1)


def run(seconds: float) -> dict[str, Any]:
    from app.ui.widgets.chart.chart import Chart
    from app.ui.widgets.chart.lines import Line

    noise, appends = np.random.default_rng(1), []
    start = time.perf_counter()
    chart = Chart("Loss")
    made = (time.perf_counter() - start) * 1000
    lines = [chart.add(Line(f"line {number}", is_smoothed=True)) for number in range(LINES)]
    million = points(0, POINTS, noise)
    start = time.perf_counter()
    chart.extend(lines[0], million)
    fill = (time.perf_counter() - start) * 1000
    for line in lines[1:]:
        chart.extend(line, million)
    chart.resize(1100, 400)
    chart.show()
    while not all(line.series.is_refined for line in lines):
        QCoreApplication.processEvents()
    watch, at, end = Watch(chart), POINTS, time.monotonic() + seconds
    due = time.monotonic()
    while time.monotonic() < end:
        if time.monotonic() >= due:
            due += 1 / TIMES
            start = time.perf_counter()
            for line in lines:
                chart.extend(line, points(at, RATE // TIMES, noise))
            appends.append((time.perf_counter() - start) * 1000)
            at += RATE // TIMES
        QCoreApplication.processEvents()
        time.sleep(0.0005)
    return {
        "lines": LINES,
        "points": at,
        "draws_per_s": round(len(watch.draws) / seconds, 1),
        "draw": figures(watch.draws),
        "cpu": figures(watch.cpu),
        "append": figures(appends),
        "hold": figures(watch.holds),
        "fill_ms": round(fill, 1),
        "first_chart_ms": round(made, 1),
        "load_average": round(os.getloadavg()[0], 2),
    }


def main() -> int:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from app.ui import theme

    app = QApplication([])
    theme.apply(app, "light")
    print(json.dumps(run(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
