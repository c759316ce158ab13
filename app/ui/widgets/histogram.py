"""How many of each length: bars between round numbers, with the place where rows are cut.

Invariant: what is drawn is also said to assistive tools; what lies past the cut has another colour and a word.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import log2

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui import theme
from app.ui.tokens import Type
from app.ui.widgets.painting import begin, box, text, width_of

HEIGHT = 132
OVER = 1  # series of what is past the cut


class Histogram(QWidget):
    """Bins whose upper ends double; the last one has none."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self._counts: list[int] = []
        self._ends: list[int] = []
        self._cut, self._words = 0, ""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(round(HEIGHT * theme.state.text_scale))

    def show_counts(self, counts: Sequence[int], ends: Sequence[int], cut: int, words: str, said: str) -> None:
        """`cut`: 0 for none; `words` stand beside it; `said`: everything in a sentence."""
        last = max((place for place, count in enumerate(counts) if count), default=0)
        shown = min(len(counts), max(last + 1, bisect_left(list(ends), cut) + 1 if cut else 1, 3))
        self._counts, self._ends = list(counts[:shown]), list(ends[:shown])
        self._cut, self._words = cut, words
        self.setAccessibleDescription(said)
        self.setToolTip(said)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(260, self.height())

    def _place(self, length: int) -> float:
        """Where a length lies, in bars from the left: each bar but the first stands for one doubling."""
        first = self._ends[0]
        if length <= first:
            return length / first
        return min(len(self._counts), 1 + log2(length / first))

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._counts:
            return
        c = theme.colors()
        painter = begin(self)
        line = round(16 * theme.state.text_scale)
        top, bottom = line + 6, self.height() - line - 2
        wide = self.width() / len(self._counts)
        most = max(*self._counts, 1)
        cut = self._place(self._cut) if self._cut else float(len(self._counts))
        for place, count in enumerate(self._counts):
            tall = max(2.0, (bottom - top) * count / most) if count else 0.0
            bar = QRectF(place * wide + 1, bottom - tall, wide - 2, tall)
            box(painter, bar, 2, c.series[OVER if place >= cut - 0.001 else 0])
        painter.fillRect(QRectF(0, bottom, self.width(), 1), theme.color(c.border))
        self._paint_ends(painter, bottom + 2, wide)
        if self._cut:
            self._paint_cut(painter, cut * wide, bottom, line)

    def _paint_ends(self, painter: QPainter, y: float, wide: float) -> None:
        c = theme.colors()
        font = theme.font(Type.CAPTION, tabular=True)
        free_from = 0.0
        for place, end in enumerate(self._ends):
            words = f"{end:,}"
            room = width_of(words, font)
            left = min((place + 1) * wide - room / 2, self.width() - room)
            if left >= free_from:
                text(painter, QRectF(left, y, room + 1, 16 * theme.state.text_scale), words, font, c.text_muted)
                free_from = left + room + 8

    def _paint_cut(self, painter: QPainter, x: float, bottom: float, line: int) -> None:
        c = theme.colors()
        painter.setPen(QPen(theme.color(c.text_soft), 1.2, Qt.PenStyle.DashLine))
        painter.drawLine(round(x), line + 2, round(x), round(bottom))
        font = theme.font(Type.CAPTION, tabular=True)
        room = width_of(self._words, font)
        left = max(0.0, min(x - room / 2, self.width() - room))
        text(painter, QRectF(left, 0, room + 1, line), self._words, font, c.text_soft)
