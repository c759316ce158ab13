"""A live chart: several lines over the steps of one or more runs, with legend, crosshair and zoom.

Import this where a page is built, never from the shell: it brings numpy, and the first `Chart` pyqtgraph. Invariant: a
draw costs what the pixels cost, never what the points cost, and news alone draw at most every `NEWS_MS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from PySide6.QtCore import QEvent, QPoint, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFocusEvent, QImage, QKeyEvent, QPaintEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QWidget

from app.ui import theme
from app.ui.pacing import Paced
from app.ui.tokens import Radius, Space
from app.ui.widgets.button import Button
from app.ui.widgets.chart import readings, ticks
from app.ui.widgets.chart.card import Card
from app.ui.widgets.chart.frame import Limit, Phase
from app.ui.widgets.chart.legend import Legend
from app.ui.widgets.chart.lines import Line, Reading, dress
from app.ui.widgets.chart.series import Points
from app.ui.widgets.chart.smoothing import fitting
from app.ui.widgets.layout import column
from app.ui.widgets.painting import KEYBOARD, begin, focus_ring
from core.translation import say

NEWS_MS = 100  # between two draws because points came
HAND_MS = 16  # between two draws because the user did something
REFINED = 150_000  # values smoothed in one draw
ZOOM = 0.7
CLOSEST = 1e-6  # of the whole


class Chart(QWidget):
    """
    Attributes:
        lines: in the order of the legend
        has_scales: whether a logarithmic scale makes sense
        is_following: the view holds all steps up to the newest
        cross: the step of the crosshair, or None
    """

    view_changed = Signal()  # follow, scale or smoothing is another

    def __init__(
        self, name: str, *, x_name: str = "", empty: str = "", write: Callable[[float], str] | None = None
    ) -> None:
        """`x_name`: what is counted, "step" if not given. `empty`: what is said while there is no point. `write`: the
        numbers of the axis in words."""
        super().__init__()
        from app.ui.widgets.chart.plot import Plot  # most of a second, once

        self.lines: list[Line] = []
        self.is_following, self.is_log, self.smoothing = True, False, 0.0
        self._is_smoothing_chosen = False
        self.has_scales = True
        self.cross: float | None = None
        self._ring = False
        self._x_name, self._empty = x_name, empty
        self._span = (0.0, 1.0)
        self._from_zero = False
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.legend, self.plot = Legend(), Plot()
        self.plot.frame.write, self.plot.frame.is_counted = write, not x_name
        self.plot.setFocusProxy(self)
        self._card = Card(self.plot)
        self.follow = Button("", "secondary", "right", small=True)
        self.follow.setParent(self.plot)
        self.follow.hide()
        self._news, self._soon = Paced(self, NEWS_MS, self.draw), Paced(self, HAND_MS, self.draw)
        whole = column(self.legend, self.plot, gap=Space.XS, margin=Space.XXS)
        whole.setStretch(1, 1)
        self.setLayout(whole)
        self._connect()

    def _connect(self) -> None:
        self.legend.changed.connect(self._soon.ask)
        self.plot.pointed.connect(self._point)
        self.plot.view.span_asked.connect(self.show_span)
        self.plot.view.reset_asked.connect(self.reset)
        self.follow.clicked.connect(self.reset)
        theme.state.changed.connect(self.redraw)

    # --- lines ---------------------------------------------------------------------

    def add(self, line: Line) -> Line:
        """A further line. Its look is given here; the lines of the first run keep theirs."""
        self.lines.append(line)
        line.series.smooth(self.smoothing if line.is_smoothed else 0.0)
        self._dress()
        return line

    def extend(self, line: Line, points: Points) -> None:
        """As often as points come; they are drawn together."""
        line.series.extend(points)
        self._news.ask()

    def remove_run(self, run: str) -> None:
        self.lines = [line for line in self.lines if line.run != run]
        self._dress()

    def clear(self) -> None:
        self.lines, self.is_following, self.cross = [], True, None
        self._dress()

    def _dress(self) -> None:
        dress(self.lines)
        self.legend.show_lines(self.lines)
        self._soon.ask()

    def show_phases(self, phases: Sequence[Phase]) -> None:
        self.plot.frame.phases = tuple(phases)
        self._news.ask()

    def show_limit(self, limit: Limit | None) -> None:
        """A line across, as the memory there is."""
        self.plot.frame.limit = limit
        self._soon.ask()

    def say_empty(self, words: str) -> None:
        """What is said while there is no point."""
        if words != self._empty:
            self._empty = words
            self._soon.ask()

    def start_at_zero(self) -> None:
        """For amounts, whose height is compared."""
        self._from_zero, self.has_scales = True, False

    def shown_lines(self) -> list[Line]:
        return [line for line in self.lines if line.is_shown and len(line.series)]

    # --- the view --------------------------------------------------------------------

    def whole(self) -> tuple[float, float]:
        """From the first step of all lines to the last."""
        lines = self.shown_lines() or [line for line in self.lines if len(line.series)]
        if not lines:
            return 0.0, 1.0
        left = min(float(line.series.steps[0]) for line in lines)
        right = max(float(line.series.steps[-1]) for line in lines)
        if right > left:
            return left, right
        return (max(0.0, left - 0.5) if left >= 0 else left - 0.5), left + 0.5  # nothing lies before the start

    def span(self) -> tuple[float, float]:
        return self.whole() if self.is_following else self._span

    def show_span(self, left: float, right: float) -> None:
        """Look at these steps; at all of them is to follow again."""
        low, high = self.whole()
        wide = max(right - left, (high - low) * CLOSEST)
        if wide >= high - low:
            self.set_following(True)
            return
        left = min(max(left, low), high - wide)
        self._span, self.is_following = (left, left + wide), False
        self._changed()

    def set_following(self, on: bool) -> None:
        self._span = self.span()
        self.is_following = on
        self._changed()

    def reset(self) -> None:
        self.set_following(True)

    def set_log(self, on: bool) -> None:
        self.is_log = on
        self._changed()

    def set_smoothing(self, weight: float) -> None:
        """0 (none) to below 1; from now on whatever the number of points."""
        self._is_smoothing_chosen = True
        self._smooth(weight)
        self._changed()

    def _smooth(self, weight: float) -> None:
        self.smoothing = weight
        for line in self.lines:
            line.series.smooth(weight if line.is_smoothed else 0.0)

    def _fit_smoothing(self) -> None:
        """Until a weight is chosen, the one for so many points."""
        most = max((len(line.series) for line in self.lines if line.is_smoothed), default=0)
        if not self._is_smoothing_chosen and (weight := fitting(most)) != self.smoothing:
            self._smooth(weight)
            self.view_changed.emit()

    def _changed(self) -> None:
        self.view_changed.emit()
        self._soon.ask()

    # --- the crosshair ---------------------------------------------------------------

    def point_at(self, step: float | None) -> None:
        """The crosshair to the nearest step that any shown line has; None takes it away."""
        self.cross = None if step is None else readings.nearest(self.shown_lines(), step)
        self._soon.ask()

    def _point(self, step: object) -> None:
        self.point_at(step if isinstance(step, float) else None)

    def move_cross(self, by: int) -> None:
        """By points, or by pixels where these hold more than one point."""
        lines = [line for line in self.shown_lines() if not line.has_points] or self.shown_lines()
        if not lines:
            return
        series, (left, right) = lines[0].series, self.span()
        inside = int(np.searchsorted(series.steps, right) - np.searchsorted(series.steps, left))
        stride = max(1, inside // self.plot.columns())
        at = series.near(right if self.cross is None else self.cross) + (by * stride if self.cross is not None else 0)
        self.point_at(series.at(max(0, min(at, len(series) - 1))).step)
        if self.cross is not None and not left <= self.cross <= right:
            self.show_span(self.cross - (right - left) / 2, self.cross + (right - left) / 2)

    def readings(self) -> list[Reading]:
        """What stands in the card; at the newest step while there is no crosshair."""
        return readings.at(self.shown_lines(), self.cross, self.smoothing > 0)

    # --- drawing -----------------------------------------------------------------------

    def redraw(self) -> None:
        """Everything, in the theme, text size and language in force."""
        self.legend.arrange()
        self._soon.ask()

    def draw(self) -> None:
        """What there is now. A hidden chart draws when it is shown."""
        if self.isVisible():
            self.compose()

    def compose(self) -> None:
        frame = self.plot.frame
        (frame.left, frame.right), frame.is_log = self.span(), self.is_log
        self.plot.view.is_whole = self.is_following
        frame.x_name = self._x_name or say("chart.step")
        self._fit_smoothing()
        self._refine()
        drawn = [self.plot.drawn(line, self.smoothing > 0) for line in self.shown_lines()]
        found = self.plot.fit_values(drawn, self._from_zero)
        frame.words = self._words(found)
        frame.cross = self.cross if found else None
        self.plot.show_lines(drawn)
        self._tell()

    def _words(self, found: bool) -> str:
        if found:
            return ""
        if not any(len(line.series) for line in self.lines):
            return self._empty or say("chart.empty")
        if not self.shown_lines():
            return say("chart.all_hidden")
        return say("chart.not_positive") if self.is_log else say("chart.only_gaps")

    def _refine(self) -> None:
        left = REFINED
        for line in self.lines:
            left = line.series.refine(left) if line.is_smoothed else left
        if not left:
            self._soon.ask()

    def _tell(self) -> None:
        """Card, chip, and what assistive tools say."""
        said = self.readings()
        frame = self.plot.frame
        frame.dots = [self.plot.place(reading) for reading in said if not reading.is_faint]
        if frame.cross is not None and said:
            remarks = ["" if one.step == self.cross else say("chart.at", step=ticks.step(one.step)) for one in said]
            title = say("chart.here", name=frame.x_name, step=ticks.step(frame.cross))
            self._card.show_at(frame.x(self.plot.area, frame.cross), title, list(zip(said, remarks, strict=True)))
        else:
            self._card.hide()
        self.follow.setText(say("chart.follow"))
        self.follow.setAccessibleName(say("chart.follow"))
        self.follow.resize(self.follow.sizeHint())
        area = self.plot.area
        corner = QPoint(round(area.right()), round(area.bottom())) - QPoint(Space.S, Space.S)
        self.follow.move(corner - QPoint(self.follow.width(), self.follow.height()))
        self.follow.setVisible(not self.is_following)
        words = "; ".join(say("chart.said", name=r.name, value=r.shown, step=ticks.step(r.step)) for r in said)
        self.setAccessibleDescription(words or frame.words)

    def image(self, ratio: float = 2.0) -> QImage:
        """The chart as it stands, without crosshair and chips, under its name."""
        from app.ui.widgets.chart.export import picture

        return picture(self, ratio)

    # --- Qt ----------------------------------------------------------------------------

    def sizeHint(self) -> QSize:
        return QSize(640, 280)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.draw()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._soon.ask()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.LanguageChange:
            self.redraw()

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._ring = event.reason() in KEYBOARD
        super().focusInEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._ring = False
        super().focusOutEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._ring:
            focus_ring(begin(self), QRectF(self.rect()), Radius.M)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        far = 10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
        left, right = self.span()
        about = self.cross if self.cross is not None else (left + right) / 2
        do: dict[int, Callable[[], object]] = {
            Qt.Key.Key_Left: lambda: self.move_cross(-far),
            Qt.Key.Key_Right: lambda: self.move_cross(far),
            Qt.Key.Key_Home: lambda: self.point_at(-math.inf),
            Qt.Key.Key_End: lambda: self.point_at(math.inf),
            Qt.Key.Key_Plus: lambda: self.plot.view.zoom(ZOOM, about),
            Qt.Key.Key_Equal: lambda: self.plot.view.zoom(ZOOM, about),
            Qt.Key.Key_Minus: lambda: self.plot.view.zoom(1 / ZOOM, about),
            Qt.Key.Key_0: self.reset,
        }
        if event.key() == Qt.Key.Key_Escape and self.cross is not None:
            self.point_at(None)
        elif event.key() in do:
            do[event.key()]()
        else:
            super().keyPressEvent(event)
