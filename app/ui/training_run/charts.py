"""The figures of a run drawn over its steps: one chart at a time, others drawn over it where they are chosen.

Invariant: a chart is made when it is first looked at; its lines have grown before that all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QStackedWidget, QWidget

from app.services.training import TrainingService
from app.ui.tokens import Space
from app.ui.training_run.feed import Feed
from app.ui.widgets.chart.bar import ChartBar
from app.ui.widgets.chart.chart import Chart
from app.ui.widgets.chart.memory_timeline import MemoryTimeline
from app.ui.widgets.layout import Card, column, pane, row
from app.ui.widgets.page import section
from app.ui.widgets.toggle import Segmented
from core import figures
from core.errors import UserError
from core.translation import say

CHARTS: dict[str, tuple[str, ...]] = {
    "loss": ("loss", "eval_loss"),
    "learning_rate": ("learning_rate",),
    "grad_norm": ("grad_norm",),
    "tokens_per_s": ("tokens_per_s",),
    "memory": ("memory",),
}
TALL = 340
NEAR = 0.25  # of the memory there is


class RunCharts(QWidget):
    """
    Signals:
        grown: there are new points
        exported: a file; failed: why there is none
    """

    grown = Signal()
    exported = Signal(Path)
    failed = Signal(UserError)

    def __init__(self, training: TrainingService, id: str, name: str, *controls: QWidget) -> None:
        super().__init__()
        self.charts: dict[str, Chart] = {}
        self.overlays: dict[str, Feed] = {}
        self._training = training
        self._places: dict[str, int] = {}
        self._available = 0.0
        self.choice = Segmented(say("run_ui.charts"), [say(f"run_ui.chart_{name}") for name in CHARTS])
        self.choice.chosen.connect(lambda place: self.show_chart(list(CHARTS)[place]))
        self._stack = QStackedWidget()
        self._stack.setFixedHeight(TALL)
        self.setLayout(
            column(
                section(say("run_ui.charts"), "", Card(column(self._stack), padding=Space.M), self.choice, *controls)
            )
        )
        self.feed = Feed(training, id, name, self._grow)
        self.show_chart("loss")

    def leave(self) -> None:
        for feed in (self.feed, *self.overlays.values()):
            feed.leave()

    def show_chart(self, name: str) -> Chart:
        if name not in self.charts:
            chart = self.charts[name] = self._make(name)
            for feed in self.overlays.values():
                self._fill(chart, name, feed)
            bar = ChartBar(chart)
            bar.exported.connect(self.exported)
            bar.failed.connect(self.failed)
            whole = column(pane(row(bar)), chart, gap=Space.XS)
            whole.setStretch(1, 1)
            self._places[name] = self._stack.addWidget(pane(whole))
        self.choice.choose(list(CHARTS).index(name))
        self._stack.setCurrentIndex(self._places[name])
        return self.charts[name]

    def _make(self, name: str) -> Chart:
        title, empty = say(f"run_ui.chart_{name}"), self._empty_words()
        if name == "memory":
            timeline = MemoryTimeline(title, empty=empty, used=self.feed.lines["memory"])
            timeline.begin_phase(say("run_ui.phase_loading"), 0)
            timeline.begin_phase(say("run_ui.phase_training"), 1)
            self._show_limit(timeline)
            return timeline
        writes: dict[str, Callable[[float], str]] = {
            "learning_rate": lambda value: f"{value:.2g}",
            "tokens_per_s": lambda value: figures.count(round(value)),
        }
        chart = Chart(title, empty=empty, write=writes.get(name))
        self._fill(chart, name, self.feed)
        return chart

    def _empty_words(self) -> str:
        return say("run_ui.no_steps" if self.feed.has_history else "run_ui.reading")

    def show_available(self, size: float) -> None:
        """The memory there is, in bytes."""
        self._available = size
        chart = self.charts.get("memory")
        if isinstance(chart, MemoryTimeline):
            self._show_limit(chart)

    def _show_limit(self, timeline: MemoryTimeline) -> None:
        """Where the run came near it; else its curve would be a line at the foot."""
        values = self.feed.lines["memory"].series.values
        is_near = bool(len(values)) and float(values.max()) > NEAR * self._available
        timeline.show_available(self._available if is_near else 0.0)

    @staticmethod
    def _fill(chart: Chart, name: str, feed: Feed) -> None:
        """With the lines of a run that are not in it yet; what is not always measured comes with its first point."""
        for place, key in enumerate(CHARTS[name]):
            line = feed.lines[key]
            if line not in chart.lines and (len(line.series) or not place):
                chart.add(line)

    def _grow(self) -> None:
        for name, chart in self.charts.items():
            for feed in (self.feed, *self.overlays.values()):
                self._fill(chart, name, feed)
            chart.say_empty(self._empty_words())
            chart.extend(chart.lines[0], ())
        self.grown.emit()

    # --- other runs ----------------------------------------------------------------------

    def lay_over(self, id: str, name: str) -> None:
        """Draw another run over this one."""
        if id not in self.overlays:
            feed = self.overlays[id] = Feed(self._training, id, name, self._grow)
            for chart_name, chart in self.charts.items():
                self._fill(chart, chart_name, feed)

    def take_off(self, id: str) -> None:
        feed = self.overlays.pop(id, None)
        if feed is not None:
            feed.leave()
            for chart in self.charts.values():
                chart.remove_run(feed.name)
