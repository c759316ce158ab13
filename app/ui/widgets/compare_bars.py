"""Bars on a common zero: what is compared, its number, and by how much it differs from the first.

Invariant: every number that is drawn is also said to assistive tools, and a bar that has none says why in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFocusEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from app.ui import theme
from app.ui.tokens import Radius, Space, Type
from app.ui.widgets.badge import Tone, tone_colors
from app.ui.widgets.painting import KEYBOARD, begin, box, focus_ring, text, width_of

RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
LINE, WORDS, BAR, INSET = 42, 18, 8, 6


class Compared(NamedTuple):
    """value: None where there is no number; `shown` says why. remark: after the number, as "−54 %".
    strong: the best of them. tone: of `shown`, where it is no number"""

    name: str
    value: float | None
    shown: str
    remark: str = ""
    strong: bool = False
    tone: Tone = "neutral"


class CompareBars(QWidget):
    """
    Signals:
        chosen: the place of a bar, by a click or Enter
    """

    chosen = Signal(int)

    def __init__(self, name: str, hint: str = "") -> None:
        """hint: what a click on a bar does."""
        super().__init__()
        self.items: list[Compared] = []
        self._top, self._at, self._hovered, self._ring, self._hint = 0.0, 0, -1, False, hint
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_items(self, items: Sequence[Compared], top: float = 0.0) -> None:
        """top: where a bar ends; 0 for the largest value."""
        if list(items) == self.items and top == self._top:
            return
        self.items, self._top = list(items), top
        self._at = min(self._at, max(0, len(self.items) - 1))
        said = (" ".join(part for part in (f"{item.name}: {item.shown}", item.remark) if part) for item in self.items)
        self.setAccessibleDescription("; ".join(said))
        self.setFixedHeight(max(1, self._line() * len(self.items)))
        self.update()

    def _line(self) -> int:
        return round(LINE * theme.state.text_scale)

    def sizeHint(self) -> QSize:
        return QSize(280, self.height())

    # --- choosing ---------------------------------------------------------------------

    def _place(self, y: float) -> int:
        place = int(y // self._line())
        return place if 0 <= place < len(self.items) else -1

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        place = self._place(event.position().y())
        if place != self._hovered:
            self._hovered = place
            self.setCursor(Qt.CursorShape.PointingHandCursor if place >= 0 else Qt.CursorShape.ArrowCursor)
            if place >= 0 and self._hint:
                QToolTip.showText(event.globalPosition().toPoint(), self._hint, self)
            self.update()

    def leaveEvent(self, event: QEvent) -> None:
        self._hovered = -1
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        place = self._place(event.position().y())
        if place >= 0 and event.button() == Qt.MouseButton.LeftButton:
            self._at = place
            self.chosen.emit(place)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}.get(Qt.Key(event.key()))
        if step is not None and 0 <= self._at + step < len(self.items):
            self._at += step
            self.update()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space) and not event.modifiers():
            if self.items:
                self.chosen.emit(self._at)
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._ring = event.reason() in KEYBOARD
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._ring = False
        super().focusOutEvent(event)
        self.update()

    # --- painting ---------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        c, painter = theme.colors(), begin(self)
        top = self._top or max((item.value or 0.0 for item in self.items), default=0.0) or 1.0
        for place, item in enumerate(self.items):
            whole = QRectF(0, place * self._line(), self.width(), self._line())
            if place == self._hovered:
                box(painter, whole, Radius.M, c.hover)
            self._paint(painter, whole.adjusted(INSET, INSET - 1, -INSET, 0), item, top)
            if self._ring and place == self._at:
                focus_ring(painter, whole, Radius.M)

    def _paint(self, painter: QPainter, rect: QRectF, item: Compared, top: float) -> None:
        c, scale = theme.colors(), theme.state.text_scale
        caption, number = theme.font(Type.CAPTION), theme.font(Type.BODY_STRONG, tabular=True)
        tall = WORDS * scale
        has_value = item.value is not None
        front = c.text if item.strong else c.text_soft
        tint = front if has_value else tone_colors(item.tone)[0]
        shown_font = number if has_value else theme.font(Type.CAPTION_STRONG)
        room = min(width_of(item.shown, shown_font) + 1, rect.width())
        text(painter, QRectF(rect.right() - room, rect.top(), room, tall), item.shown, shown_font, tint)
        end = rect.right() - room - Space.S
        if item.remark:
            wide = width_of(item.remark, caption) + 1
            place = QRectF(end - wide, rect.top(), wide, tall)
            text(painter, place, item.remark, caption, c.ok if item.strong else c.text_muted, RIGHT)
            end -= wide + Space.S
        text(painter, QRectF(rect.left(), rect.top(), max(0.0, end - rect.left()), tall), item.name, caption, front)
        y = rect.top() + tall + 3
        box(painter, QRectF(rect.left(), y, rect.width(), BAR), BAR / 2, c.hover)
        if item.value:
            wide = max(float(BAR), rect.width() * min(1.0, item.value / top))
            fill = c.accent if item.strong else theme.with_alpha(c.series[6], 0.6)
            box(painter, QRectF(rect.left(), y, wide, BAR), BAR / 2, fill)
