"""The drawing area on pyqtgraph: curves in one view, and what the mouse asks for. Imported with the first chart.

Invariant: what is shown is decided elsewhere. The range stands in `frame`; wheel and mouse only ask for another.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPen, QResizeEvent
from PySide6.QtWidgets import QFrame, QGraphicsRectItem

from app.ui import theme
from app.ui.tokens import Space
from app.ui.widgets.chart.card import STROKES
from app.ui.widgets.chart.frame import Frame, line_height, paint_before, paint_behind
from app.ui.widgets.chart.lines import Line, Look, Reading
from app.ui.widgets.chart.pyramid import Envelope, Numbers

FINE = 4000  # points in all, up to which edges are smoothed
MARKED = 400  # points of a line, up to which each has its marker
FAINT, FAINTER = 0.38, 0.3  # of raw values: as a line; where every column is a stroke
SMALLEST_DRAG = 4  # px
EDGE = 5  # px beside the area, so that a marker at its edge is whole
SAME = 1e-9  # of a value: what smoothing makes of a constant differs by less


class Drawn(NamedTuple):
    """One line as it is now; raw values lie faintly below smoothed ones."""

    line: Line
    raw: Envelope
    smoothed: Envelope | None


class View(pg.ViewBox):  # type: ignore[misc]
    """Turns wheel and mouse into spans of steps that are asked for."""

    span_asked = Signal(float, float)
    reset_asked = Signal()

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        self.is_whole = True  # all steps are seen
        self.shown = (0.0, 1.0)  # of the steps; a little more has room
        self.setMouseEnabled(False, False)
        self.disableAutoRange()
        self._band = QGraphicsRectItem(self)
        self._band.hide()

    def span(self) -> tuple[float, float]:
        return self.shown

    def zoom(self, factor: float, about: float) -> None:
        left, right = self.span()
        self.span_asked.emit(about - (about - left) * factor, about + (right - about) * factor)

    def pan(self, by: float) -> None:
        left, right = self.span()
        self.span_asked.emit(left + by, right + by)

    def wheelEvent(self, event: Any, axis: int | None = None) -> None:
        if self.is_whole and event.delta() < 0:
            event.ignore()  # nothing further out: the page may scroll
            return
        event.accept()
        sideways = event.orientation() == Qt.Orientation.Horizontal
        if sideways or event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            left, right = self.span()
            self.pan(-(right - left) * 0.1 * event.delta() / 120)
        else:
            self.zoom(0.8 ** (event.delta() / 120), self.mapToView(event.pos()).x())

    def mouseDragEvent(self, event: Any, axis: int | None = None) -> None:
        """The left button marks the stretch to see; with Shift, or with the middle one, the view is moved."""
        event.accept()
        is_left = event.button() == Qt.MouseButton.LeftButton
        if not is_left or event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.pan(self.mapToView(event.lastPos()).x() - self.mapToView(event.pos()).x())
            return
        ends = sorted((event.buttonDownPos().x(), event.pos().x()))
        left, right = (min(max(0.0, end), self.width()) for end in ends)
        self._band.setRect(QRectF(left, 0, right - left, self.height()))
        self._band.setVisible(not event.isFinish())
        if event.isFinish() and right - left >= SMALLEST_DRAG:
            low, high = (self.mapToView(QPointF(x, 0)).x() for x in (left, right))
            self.span_asked.emit(low, high)

    def mouseClickEvent(self, event: Any) -> None:
        if event.double() and event.button() == Qt.MouseButton.LeftButton:
            event.accept()
            self.reset_asked.emit()

    def dress(self) -> None:
        c = theme.colors()
        self._band.setPen(QPen(theme.color(c.accent), 1))
        self._band.setBrush(theme.with_alpha(c.accent, 0.12))


class Plot(pg.GraphicsView):  # type: ignore[misc]
    """The view with its curves, its frame painted around them."""

    pointed = Signal(object)  # the step under the mouse, or None

    def __init__(self) -> None:
        super().__init__(background=None)
        self.frame = Frame()
        self.view = View()
        self.addItem(self.view)
        self.ratio = 0.0  # pixels of the target in one of ours, where that is not the screen
        self.area = QRectF(0, 0, 100, 100)  # of the curves, in px
        self._items: dict[Line, list[Any]] = {}  # curves and markers
        self.setCacheMode(self.CacheModeFlag.CacheNone)  # numbers and grid change with every range
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setStyleSheet("background: transparent")
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.viewport().setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setMinimumSize(200, 140)

    def _measure(self) -> QRectF:
        top = Space.S
        left = round(self.frame.margin(self.height() - top - line_height() - Space.S))
        below = line_height() + Space.S
        return QRectF(left, top, max(1.0, self.width() - left - EDGE), max(1.0, self.height() - top - below))

    def columns(self) -> int:
        return max(2, int(self.area.width()))

    # --- what is shown ---------------------------------------------------------------

    def show_lines(self, drawn: list[Drawn]) -> None:
        """These lines and no others, within the range of `frame`."""
        for line in [line for line in self._items if line not in {one.line for one in drawn}]:
            for item in self._items.pop(line):
                self.view.removeItem(item)
        points = sum(len(part.x) for one in drawn for part in (one.raw, one.smoothed) if part is not None)
        self._fit()
        for one in drawn:
            self._show(one, points <= FINE)
        self.viewport().update()

    def drawn(self, line: Line, is_smoothed: bool) -> Drawn:
        """What of `line` the range of the frame shows."""
        frame, columns, series = self.frame, self.columns(), line.series
        raw = series.envelope(frame.left, frame.right, columns)
        if not (line.is_smoothed and is_smoothed):
            return Drawn(line, raw, None)
        return Drawn(line, raw, series.smoothed_envelope(frame.left, frame.right, columns))

    def fit_values(self, drawn: list[Drawn], from_zero: bool) -> bool:
        """Take the range of values from what is seen; False where nothing can be."""
        parts = [part for one in drawn for part in (one.raw, one.smoothed) if part is not None and len(part.x)]
        values = np.concatenate([self.scaled(end) for part in parts for end in (part.low, part.high)] or [np.empty(0)])
        values = values[np.isfinite(values)]
        frame = self.frame
        if not len(values):
            frame.low, frame.high = 0.0, 1.0
            return False
        low, high = float(values.min()), float(values.max())
        if frame.limit is not None and (not frame.is_log or frame.limit.value > 0):
            high = max(high, float(self.scaled(np.array([frame.limit.value]))[0]))
        low = min(0.0, low) if from_zero and not frame.is_log else low
        is_flat = high - low <= max(abs(low), abs(high)) * SAME
        room = (abs(high) * 0.2 or 1.0) if is_flat else high - low
        frame.low = low if low == 0 and from_zero and not frame.is_log else low - room * 0.06
        frame.high = high + room * (0.2 if frame.phases else 0.06)
        return True

    def place(self, reading: Reading) -> tuple[float, float, Look]:
        """Where the dot of a reading stands, in the units of the scale."""
        return reading.step, float(self.scaled(np.array([reading.value]))[0]), reading.line.look

    def _fit(self) -> None:
        area, frame = self._measure(), self.frame
        self.area = area
        self.view.dress()
        wider = area.adjusted(-EDGE, 0, EDGE, 0)
        if self.view.geometry() != wider:
            self.view.setGeometry(wider)
        edge = EDGE * (frame.right - frame.left) / area.width()
        self.view.shown = frame.left, frame.right
        self.view.setRange(xRange=(frame.left - edge, frame.right + edge), yRange=(frame.low, frame.high), padding=0)

    def _show(self, drawn: Drawn, is_fine: bool) -> None:
        line = drawn.line
        items = self._items.get(line) or self._make(line)
        tint = theme.color(theme.colors().series[line.look.series])
        stroke = STROKES[line.look.stroke]
        pen = self._pen(tint, drawn.raw, stroke)
        if line.is_smoothed:
            faint = theme.with_alpha(tint.name(), FAINT if drawn.raw.is_exact else FAINTER)
            pen = self._wide(faint, 1) if drawn.smoothed else pen
            self._curve(items[1], drawn.smoothed, self._pen(tint, drawn.smoothed, stroke), None, is_fine)
        fill = theme.with_alpha(tint.name(), 0.16) if line.is_filled else None
        self._curve(items[0], drawn.raw, pen, fill, is_fine)
        places = self._marked(line, drawn.raw)
        if len(places[0]) or len(items[-1].data):
            items[-1].setData(*places, size=7, brush=tint, pen=None, antialias=True)

    def _marked(self, line: Line, raw: Envelope) -> tuple[Numbers, Numbers]:
        """Points with a marker: of few, all where the line wants it; else those that no line leads to or from."""
        x, y = self._pairs(raw)
        if not raw.is_exact:
            return x[:0], y[:0]
        if line.has_points and len(x) <= MARKED:
            return x, y
        known = np.concatenate(([False], np.isfinite(y), [False]))
        alone = known[1:-1] & ~known[:-2] & ~known[2:]
        return x[alone], y[alone]

    def _make(self, line: Line) -> list[Any]:
        """Its curve; the smoothed one, if it has one; its markers. What is faint lies below all that is strong."""
        items = [pg.PlotCurveItem(), *([pg.PlotCurveItem()] if line.is_smoothed else []), pg.ScatterPlotItem()]
        for height, item in enumerate(items, 0 if line.is_smoothed else 1):
            item.setZValue(height)
            self.view.addItem(item, ignoreBounds=True)
        self._items[line] = items
        return items

    def _pen(self, tint: Any, envelope: Envelope | None, stroke: Qt.PenStyle) -> Any:
        """Dashes are for lines that can be followed with the eye; where every column is a stroke they cost much."""
        is_exact = envelope is None or envelope.is_exact
        return self._wide(tint, 2 if is_exact else 1, stroke if is_exact else Qt.PenStyle.SolidLine)

    def _wide(self, tint: Any, width: int, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> Any:
        """Curves are not scaled with their view, nor with the screen."""
        return pg.mkPen(tint, width=width * (self.ratio or self.devicePixelRatioF()), style=style)

    def _curve(self, item: Any, envelope: Envelope | None, pen: Any, fill: Any, is_fine: bool) -> None:
        item.opts["antialias"] = is_fine
        if envelope is None:
            item.setData(np.empty(0), np.empty(0))
            return
        below = self.frame.low if fill is not None else None
        item.setData(*self._pairs(envelope), pen=pen, connect="finite", fillLevel=below, brush=fill)

    def _pairs(self, envelope: Envelope) -> tuple[Numbers, Numbers]:
        if envelope.is_exact:
            return envelope.x, self.scaled(envelope.low)
        low, high = envelope.low, envelope.high
        if self.frame.is_log:
            low = np.where(low > 0, low, high)  # of a column the part that has a logarithm
        values = np.stack((self.scaled(low), self.scaled(high)), axis=1)
        values[1::2] = values[1::2, ::-1]  # up, down, up: half the way for the pen
        return np.repeat(envelope.x, 2), values.reshape(-1)

    def scaled(self, values: Numbers) -> Numbers:
        """In the units of the scale; what has no logarithm is a gap."""
        if not self.frame.is_log:
            return values
        result: Numbers = np.log10(values, out=np.full(len(values), np.nan), where=values > 0)
        return result

    # --- Qt ----------------------------------------------------------------------------

    def drawBackground(self, painter: QPainter, rect: QRectF) -> None:
        paint_behind(painter, self.area, self.frame)

    def drawForeground(self, painter: QPainter, rect: QRectF) -> None:
        paint_before(painter, self.area, self.frame)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event is not None:
            self._fit()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        super().mouseMoveEvent(event)
        area = self.area
        inside = area.contains(event.position())
        share = (event.position().x() - area.left()) / area.width()
        self.pointed.emit(self.frame.left + share * (self.frame.right - self.frame.left) if inside else None)

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self.pointed.emit(None)
