"""What a model takes of the memory: its parts stacked against what is free now, with the limit drawn in.

Invariant: every number that is drawn is also said to assistive tools, and a part keeps its colour on every page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui import theme
from app.ui.tokens import Radius, Space, Type
from app.ui.widgets.badge import Tone, tone_colors
from app.ui.widgets.painting import begin, box, text, width_of
from core import figures
from core.translation import say

BAR, LEGEND = 20, 22


class Part(NamedTuple):
    """One share of the memory. `series` is its index in the data colours: weights 0, KV cache 1, workspace 2, and so on
    as the tokens say."""

    name: str
    bytes: float
    series: int


class MemoryBar(QWidget):
    """A stacked bar of parts against free memory, with its legend below. Takes other parts at any time."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self._parts: list[Part] = []
        self._free = 0.0
        self._tone: Tone = "neutral"
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._fit()

    def show_parts(self, parts: Sequence[Part], free: float, tone: Tone = "neutral") -> None:
        """`free`: bytes that could be had now; 0 while that is not known. `tone`: of the limit, when it is passed."""
        self._parts, self._free, self._tone = [part for part in parts if part.bytes >= 1], free, tone
        said = [f"{part.name} {figures.size(part.bytes)}" for part in self._parts]
        said.append(say("load.needed", size=figures.size(self.needed)))
        if free:
            said.append(say("load.free_now", size=figures.size(free)))
        self.setAccessibleDescription(", ".join(said))
        self._fit()
        self.update()

    @property
    def needed(self) -> float:
        return sum(part.bytes for part in self._parts)

    def sizeHint(self) -> QSize:
        return QSize(360, self.height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._fit()

    def _caption(self) -> int:
        return round(16 * theme.state.text_scale)

    def _fit(self) -> None:
        lines = max(1, self._legend(max(200, self.width()), None))
        self.setFixedHeight(self._caption() + 4 + BAR + Space.S + self._line() * lines)

    def _line(self) -> int:
        return round(LEGEND * theme.state.text_scale)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        top = self._caption() + 4
        scale = max(self._free, self.needed, 1.0) * 1.02
        bar = QRectF(0, top, self.width(), BAR)
        box(painter, bar, Radius.M, c.sunken, c.border)
        x = 0.0
        for part in self._parts:
            width = self.width() * part.bytes / scale
            box(painter, QRectF(x + 1, top, max(2.0, width - 2), BAR), 3, c.series[part.series])
            x += width
        if self._free:
            self._limit(painter, scale, top)
        self._legend(self.width(), painter)

    def _limit(self, painter: QPainter, scale: float, top: int) -> None:
        c = theme.colors()
        x = self.width() * self._free / scale
        tint = tone_colors(self._tone)[0] if self.needed > self._free else c.text_soft
        painter.setPen(QPen(theme.color(tint), 1.5))
        painter.drawLine(round(x), top - 4, round(x), top + BAR + 4)
        font = theme.font(Type.CAPTION_STRONG, tabular=True)
        words = say("load.free_now", size=figures.size(self._free))
        room = width_of(words, font)
        left = min(max(0.0, x - room), self.width() - room)
        text(painter, QRectF(left, 0, room + 1, self._caption()), words, font, tint)

    def _legend(self, width: int, painter: QPainter | None) -> int:
        """Lay out (and, with a painter, draw) the legend; the number of its lines."""
        c = theme.colors()
        name_font, number_font = theme.font(Type.CAPTION), theme.font(Type.CAPTION_STRONG, tabular=True)
        top = self._caption() + 4 + BAR + Space.S
        tall = self._line()
        x, line = 0.0, 0
        for part in self._parts:
            number = figures.size(part.bytes)
            named, numbered = width_of(part.name, name_font), width_of(number, number_font)
            need = 16 + named + 6 + numbered
            if x + need > width and x > 0:
                x, line = 0.0, line + 1
            if painter is not None:
                y = top + tall * line
                box(painter, QRectF(x, y + (tall - 10) / 2, 10, 10), 3, c.series[part.series])
                text(painter, QRectF(x + 16, y, named + 1, tall), part.name, name_font, c.text_soft)
                text(painter, QRectF(x + 22 + named, y, numbered + 1, tall), number, number_font, c.text)
            x += need + Space.L
        return line + 1
