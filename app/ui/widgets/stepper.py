"""The head of a wizard: its steps in a line, those done, the one in view, those that can be opened and those that
cannot yet. Invariant: a step that cannot be opened cannot be chosen, by mouse or by keys."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy

from app.ui import icons, theme
from app.ui.tokens import Radius, Space, Type
from app.ui.widgets.button import Pressable
from app.ui.widgets.painting import begin, box, dot, focus_ring, text, width_of

MARK = 22
GAP, LEAST_GAP = 44.0, 16.0


class Stepper(Pressable):
    """
    Signals:
        chosen: the index of a step
    """

    chosen = Signal(int)

    def __init__(self, name: str, steps: Sequence[str]) -> None:
        super().__init__(name)
        self._steps = list(steps)
        self.current, self.open_ = 0, 1
        self.setFixedHeight(36)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_steps(self, current: int, open_: int) -> None:
        """`open_`: so many steps can be opened."""
        self.current, self.open_ = current, max(open_, current + 1)
        self.setAccessibleDescription(self._steps[current])
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(round(self._needed(GAP)), 36)

    def minimumSizeHint(self) -> QSize:
        return QSize(round(self._needed(LEAST_GAP)), 36)

    def _needed(self, gap: float) -> float:
        return 2 * Space.XS + sum(map(self._width, range(len(self._steps)))) + gap * (len(self._steps) - 1)

    def _width(self, index: int) -> float:
        return MARK + Space.S + width_of(self._steps[index], theme.font(Type.BODY_STRONG))

    def _places(self) -> list[float]:
        spare = self.width() - self._needed(0)
        gap = max(LEAST_GAP, min(GAP, spare / max(1, len(self._steps) - 1)))
        places, x = [], float(Space.XS)
        for index in range(len(self._steps)):
            places.append(x)
            x += self._width(index) + gap
        return places

    def choose(self, index: int) -> None:
        if 0 <= index < self.open_ and index != self.current:
            self.chosen.emit(index)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        for index, x in enumerate(self._places()):
            if x <= event.position().x() <= x + self._width(index):
                self.choose(index)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if step is None or event.modifiers():
            super().keyPressEvent(event)
        else:
            self.choose(self.current + step)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        places = self._places()
        for index, x in enumerate(places):
            self._paint_mark(painter, index, x)
            here, is_open = index == self.current, index < self.open_
            tint = c.text if here else c.text_soft if is_open else c.text_muted
            font = theme.font(Type.BODY_STRONG if here else Type.BODY)
            left = x + MARK + Space.S
            end = left + text(painter, QRectF(left, 0, 400, self.height()), self._steps[index], font, tint)
            if index + 1 < len(places):
                middle = round(self.height() / 2)
                painter.setPen(QPen(theme.color(c.border_strong), 1))
                if places[index + 1] - end > 24:
                    painter.drawLine(round(end + 10), middle, round(places[index + 1] - 10), middle)
        if self.ring:
            focus_ring(painter, QRectF(self.rect()), Radius.M)

    def _paint_mark(self, painter: QPainter, index: int, x: float) -> None:
        c = theme.colors()
        middle, centre = self.height() / 2, x + MARK / 2
        here, is_done = index == self.current, index < self.current
        if here or is_done:
            dot(painter, centre, middle, MARK / 2, c.accent if here else c.accent_soft)
        else:
            box(painter, QRectF(x, middle - MARK / 2, MARK, MARK), MARK / 2, None, c.border_strong, 1.5)
        if is_done:
            icons.paint(painter, "check", centre - 7, middle - 7, 14, c.accent_text)
            return
        tint = c.on_accent if here else c.text_soft if index < self.open_ else c.text_muted
        place = QRectF(x, 0, MARK, self.height())
        font = theme.font(Type.CAPTION_STRONG)
        text(painter, place, str(index + 1), font, tint, Qt.AlignmentFlag.AlignCenter)
