"""Switch and segmented control."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEasingCurve, QRectF, QSize, Qt, QVariantAnimation, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPaintEvent
from PySide6.QtWidgets import QSizePolicy

from app.ui import icons, theme
from app.ui.tokens import Motion, Radius, Size, Space, Type
from app.ui.widgets.button import Pressable
from app.ui.widgets.painting import begin, box, dot, focus_ring, text, width_of


class Switch(Pressable):
    """On or off, in force at once. Give it the sentence it decides as its name."""

    def __init__(self, name: str, on: bool = False) -> None:
        super().__init__(name)
        self.setCheckable(True)
        self.setChecked(on)
        self.setFixedSize(38, 24)
        self._place = float(on)
        self._motion = QVariantAnimation(self)
        self._motion.setEasingCurve(QEasingCurve.Type.OutCubic)
        self._motion.valueChanged.connect(self._set_place)
        self.toggled.connect(self._slide)

    def _set_place(self, value: object) -> None:
        assert isinstance(value, float)
        self._place = value
        self.update()

    def _slide(self, on: bool) -> None:
        self._motion.setDuration(theme.duration(Motion.BASE))
        self._motion.setStartValue(self._place)
        self._motion.setEndValue(float(on))
        self._motion.start()

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rail = QRectF(2, 3, 34, 18)
        on = self._place > 0.5
        fill = (c.accent if on else c.control) if self.isEnabled() else c.border_strong
        box(painter, rail, 9, fill)
        dot(painter, 11 + 16 * self._place, 12, 6.5, "#FFFFFF" if self.isEnabled() else c.sunken)
        if self.ring:
            focus_ring(painter, QRectF(self.rect()), 12)


class Segmented(Pressable):
    """One of two to five, all visible. Arrow keys move."""

    chosen = Signal(int)

    def __init__(self, name: str, words: Sequence[str], current: int = 0, marks: Sequence[str] = ()) -> None:
        super().__init__(name)
        self._words = list(words)
        self._marks = list(marks)
        self.current = current
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._say()

    def _cells(self) -> list[QRectF]:
        font = theme.font(Type.CAPTION_STRONG)
        cells: list[QRectF] = []
        x = 2.0
        for index, word in enumerate(self._words):
            width = width_of(word, font) + 2 * Space.M + (20 if self._mark(index) else 0)
            cells.append(QRectF(x, 2, width, Size.CONTROL - 4))
            x += width
        return cells

    def _mark(self, index: int) -> str:
        return self._marks[index] if index < len(self._marks) else ""

    def sizeHint(self) -> QSize:
        return QSize(round(self._cells()[-1].right() + 2.5), Size.CONTROL)

    def set_words(self, words: Sequence[str]) -> None:
        """Other words for the same choices, or other choices; nobody is told."""
        if list(words) != self._words:
            self._words = list(words)
            self.current = min(self.current, len(self._words) - 1)
            self._say()
            self.updateGeometry()
            self.update()

    def choose(self, index: int) -> None:
        index = max(0, min(index, len(self._words) - 1))
        if index != self.current:
            self.current = index
            self._say()
            self.update()
            self.chosen.emit(index)

    def _say(self) -> None:
        self.setAccessibleDescription(self._words[self.current])

    def mousePressEvent(self, event: QMouseEvent) -> None:
        for index, cell in enumerate(self._cells()):
            if cell.contains(event.position()):
                self.choose(index)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
        else:
            self.choose(self.current + step)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        box(painter, rect, Radius.M + 1, c.hover)
        for index, cell in enumerate(self._cells()):
            chosen = index == self.current
            if chosen:
                box(painter, cell, Radius.M - 1, c.pressed if theme.is_dark() else c.raised, c.border_strong)
            tint = c.text_disabled if not self.isEnabled() else c.text if chosen else c.text_muted
            mark = self._mark(index)
            lead = cell.left() + Space.M
            if mark:
                icons.paint(painter, mark, lead - 2, (rect.height() - 16) / 2, 16, tint)
                lead += 20
            text(
                painter,
                QRectF(lead, 0, cell.width(), rect.height()),
                self._words[index],
                theme.font(Type.CAPTION_STRONG),
                tint,
            )
        if self.ring:
            focus_ring(painter, rect, Radius.M + 1)
