"""Speed and memory against the length of the context, a line for each form.

Invariant: a line joins cells that differ in their length and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PySide6.QtWidgets import QWidget

from app.ui.profiler.bars import decode_speed, reading_speed
from app.ui.profiler.parts import Section
from app.ui.profiler.words import Shown, named, rate
from app.ui.tokens import Space
from app.ui.widgets.chart.chart import Chart
from app.ui.widgets.chart.lines import OWN, Line
from app.ui.widgets.layout import Card, column
from app.ui.widgets.toggle import Segmented
from core import figures
from core.profiling.plan import Cell
from core.profiling.result import CellResult
from core.translation import say

METRICS: dict[str, tuple[Callable[[CellResult], float | None], Callable[[float], str]]] = {
    "decode": (decode_speed, lambda value: rate(value) if value else "0"),
    "reading": (reading_speed, lambda value: rate(value) if value else "0"),
    "memory": (lambda result: float(result.peak_bytes) or None, figures.size),
}
TALL = 280
Points = list[tuple[float, float]]


class CurvesView(Section):
    def __init__(self) -> None:
        self.choice = Segmented(say("profile_ui.curves"), [say(f"profile_ui.curve_{name}") for name in METRICS])
        super().__init__(say("profile_ui.curves"), say("profile_ui.curves_remark"), self.choice)
        self.charts: dict[str, Chart] = {}
        self._shown: Shown | None = None
        self._points: dict[str, Points] = {}
        self._place = column(gap=0)
        holder = QWidget()
        holder.setLayout(self._place)
        holder.setFixedHeight(TALL)
        self.add(Card(column(holder), padding=Space.M))
        self.choice.chosen.connect(lambda _: self._show())

    def showing(self, shown: Shown) -> Iterator[None]:
        self._shown = shown
        self.setVisible(any(len(points) > 1 for points in _points(shown, "memory").values()))
        yield
        if not self.isHidden():
            yield from self._showing()

    def _show(self) -> None:
        for _ in self._showing():
            pass

    def _showing(self) -> Iterator[None]:
        """The chart, then its lines."""
        if self._shown is None:
            return
        name = list(METRICS)[self.choice.current]
        found = _points(self._shown, name)
        if name not in self.charts:
            write = METRICS[name][1]
            chart = Chart(say(f"profile_ui.curve_{name}"), x_name=say("profile_ui.tokens_axis"), write=write)
            chart.start_at_zero()
            self.charts[name] = chart
            self._place.addWidget(chart)
            self._points.pop(name, None)
            yield
        chart = self.charts[name]
        for other in self.charts.values():
            other.setVisible(other is chart)
        if chart.lines and {line.name: list(map(tuple, _pairs(line))) for line in chart.lines} == found:
            return
        chart.clear()
        for words, points in list(found.items())[: len(OWN)]:
            line = chart.add(Line(words, has_points=True, write=METRICS[name][1]))
            chart.extend(line, points)


def _pairs(line: Line) -> list[tuple[float, float]]:
    return list(zip(map(float, line.series.steps), map(float, line.series.values), strict=True))


def _points(shown: Shown, metric: str) -> dict[str, Points]:
    """By the name of the line, by length."""
    value = METRICS[metric][0]
    found: dict[str, dict[float, float]] = {}
    for cell in shown.of("inference"):
        result = shown.results.get(cell.key)
        one = value(result) if result is not None and result.state == "done" else None
        if one and cell.case is not None and _counts(cell, metric):
            found.setdefault(_line_name(cell, shown), {})[float(cell.tokens)] = one
    return {name: sorted(points.items()) for name, points in found.items()}


def _counts(cell: Cell, metric: str) -> bool:
    """A prompt of one token says nothing of reading."""
    return metric != "reading" or (cell.case is not None and cell.case.prompt > 1)


def _line_name(cell: Cell, shown: Shown) -> str:
    name = named(cell, has_models=shown.has_several_models)
    assert cell.case is not None
    return name if cell.case.batch == 1 else say("profile_ui.at_once", name=name, count=cell.case.batch)
