"""What stands around the curves of a chart: grid and numbers, named phases, a limit, the crosshair.

Invariant: everything is painted from the values in `Frame` and the theme in force; nothing is told of a change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPen

from app.ui import theme
from app.ui.tokens import Space, Type
from app.ui.widgets.chart import ticks
from app.ui.widgets.chart.lines import Look
from app.ui.widgets.painting import dot, text, width_of

RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
MIDDLE = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
GRID = 0.22


class Phase(NamedTuple):
    """A named stretch of the steps. `series`: its data colour. `end` is None while it lasts."""

    name: str
    start: float
    end: float | None
    series: int


class Limit(NamedTuple):
    value: float
    name: str


@dataclass(slots=True)
class Frame:
    """`low` and `high` are in the units of the scale: logarithms where it is logarithmic."""

    left: float = 0.0
    right: float = 1.0
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    x_name: str = ""
    is_counted: bool = True  # what stands below is whole, as steps are
    write: Callable[[float], str] | None = None
    phases: tuple[Phase, ...] = ()
    limit: Limit | None = None
    words: str = ""  # in the middle, where there is nothing to draw
    cross: float | None = None
    dots: list[tuple[float, float, Look]] = field(default_factory=list)

    def x(self, area: QRectF, step: float) -> float:
        return area.left() + area.width() * (step - self.left) / (self.right - self.left)

    def y(self, area: QRectF, value: float) -> float:
        return area.bottom() - area.height() * (value - self.low) / (self.high - self.low)

    def rows(self, height: float) -> list[tuple[float, str]]:
        """Places and numbers of the horizontal lines."""
        most = max(2, int(height / (32 * theme.state.text_scale)))
        if not self.is_log:
            places = ticks.linear(self.low, self.high, most)
            return list(zip(places, self._numbers(places), strict=True))
        places = ticks.logarithmic(self.low, self.high, most)
        write = self.write or _plain
        return [(place, write(10**place)) for place in places]

    def columns(self, width: float) -> list[tuple[float, str]]:
        """Places and numbers below."""
        most = max(2, int(width / (110 * theme.state.text_scale)))
        places = ticks.linear(self.left, self.right, most, 1.0 if self.is_counted else 0.0)
        return list(zip(places, ticks.labels(places), strict=True))

    def _numbers(self, values: list[float]) -> list[str]:
        return [self.write(value) for value in values] if self.write else ticks.labels(values)

    def margin(self, height: float) -> float:
        """Room for the numbers at the left, and below them for the name of what is counted."""
        font = theme.font(Type.CAPTION, tabular=True)
        shown = (self.x_name, *(number for _, number in self.rows(height)))
        return max([36.0, *(width_of(one, font) + Space.M for one in shown)])


def line_height() -> float:
    return round(18 * theme.state.text_scale)


def paint_behind(painter: QPainter, area: QRectF, frame: Frame) -> None:
    """Phases, grid, numbers."""
    c = theme.colors()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    for phase in frame.phases:
        _phase(painter, area, frame, phase)
    font = theme.font(Type.CAPTION, tabular=True)
    tall = line_height()
    for place, shown in frame.rows(area.height()):
        y = round(frame.y(area, place))
        if not frame.words:
            painter.fillRect(QRectF(area.left(), y, area.width(), 1), theme.with_alpha(c.text_muted, GRID))
            text(painter, QRectF(0, y - tall / 2, area.left() - Space.S, tall), shown, font, c.text_muted, RIGHT)
    painter.fillRect(QRectF(area.left(), round(area.bottom()), area.width(), 1), theme.color(c.border_strong))
    if not frame.words:
        _steps(painter, area, frame)


def _steps(painter: QPainter, area: QRectF, frame: Frame) -> None:
    """Numbers below; the name of what they count at the left, where it takes the place of none."""
    c, font, tall = theme.colors(), theme.font(Type.CAPTION, tabular=True), line_height()
    top = area.bottom() + Space.XS
    text(painter, QRectF(0, top, area.left() - Space.S, tall), frame.x_name, font, c.text_muted, RIGHT)
    for place, shown in frame.columns(area.width()):
        x, room = frame.x(area, place), width_of(shown, font)
        left = min(max(x - room / 2, area.left()), area.right() - room)
        text(painter, QRectF(left, top, room + 1, tall), shown, font, c.text_muted)


def _phase(painter: QPainter, area: QRectF, frame: Frame, phase: Phase) -> None:
    c = theme.colors()
    left = max(area.left(), frame.x(area, phase.start))
    right = min(area.right(), frame.x(area, frame.right if phase.end is None else phase.end))
    if right <= left:
        return
    tint = c.series[phase.series]
    painter.fillRect(QRectF(left, area.top(), right - left, area.height()), theme.with_alpha(tint, 0.09))
    painter.fillRect(QRectF(left, area.top(), right - left, 2), theme.color(tint))
    font, room = theme.font(Type.CAPTION_STRONG), right - left - 2 * Space.XS
    if room >= width_of(phase.name, font):  # a part of a name says nothing
        tall = line_height()
        text(painter, QRectF(left + Space.XS, area.top() + 3, room, tall), phase.name, font, c.text_soft)


def paint_before(painter: QPainter, area: QRectF, frame: Frame) -> None:
    """Limit, crosshair with a dot on every line, words of an empty chart."""
    c = theme.colors()
    if frame.limit is not None and frame.low <= frame.limit.value <= frame.high:
        _limit(painter, area, frame, frame.limit)
    if frame.words:
        painter.setFont(theme.font(Type.BODY))
        painter.setPen(theme.color(c.text_muted))
        painter.drawText(area, MIDDLE, frame.words)
    if frame.cross is None or not frame.left <= frame.cross <= frame.right:
        return
    x = frame.x(area, frame.cross)
    painter.setPen(QPen(theme.color(c.control), 1, Qt.PenStyle.DashLine))
    painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    for step, value, look in frame.dots:
        place = QPointF(frame.x(area, step), frame.y(area, value))
        if area.adjusted(-1, -1, 1, 1).contains(place):
            dot(painter, place.x(), place.y(), 5, c.surface)
            dot(painter, place.x(), place.y(), 3.5, c.series[look.series])


def _limit(painter: QPainter, area: QRectF, frame: Frame, limit: Limit) -> None:
    c, font, tall = theme.colors(), theme.font(Type.CAPTION_STRONG, tabular=True), line_height()
    y = round(frame.y(area, limit.value))
    painter.setPen(QPen(theme.color(c.text_soft), 1, Qt.PenStyle.DashLine))
    painter.drawLine(round(area.left()), y, round(area.right()), y)
    text(painter, QRectF(area.left(), y + 2, area.width() - Space.XS, tall), limit.name, font, c.text_soft, RIGHT)


def _plain(value: float) -> str:
    return ticks.labels([value])[0]
