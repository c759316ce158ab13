"""The navigation rail at the left edge: icon over word, one choice."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QWidget

from app.ui import icons, theme
from app.ui.tokens import Radius, Size, Space, TextStyle
from app.ui.widgets.button import Pressable
from app.ui.widgets.layout import column
from app.ui.widgets.painting import begin, box, dot, focus_ring, text

_WORD = TextStyle(11, 500, 1.3)
_WORD_WIDE = TextStyle(12, 500, 1.3)


class NavItem(Pressable):
    """One page of the program. `busy` shows a dot: something is running there. `shortcut` is only shown: the window
    binds it, and a key that is bound twice does nothing."""

    def __init__(self, icon: str, name: str, shortcut: str) -> None:
        super().__init__(name)
        self.setText(name)
        self.setToolTip(f"{name}  {shortcut}")
        self.setCheckable(True)
        self.setAutoExclusive(True)
        self.icon_name = icon
        self.busy = False
        self.setFixedSize(Size.RAIL - 2 * Space.S, 56)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        on = self.isChecked()
        if on:
            box(painter, rect, Radius.L - 1, c.selected)
        elif veil := self.veil():
            box(painter, rect, Radius.L - 1, veil)
        tint = c.accent_text if on else c.text_soft if self.hovered else c.text_muted
        icons.paint(painter, self.icon_name, (rect.width() - 20) / 2, 9, 20, tint)
        words = c.text if on else c.text_soft if self.hovered else c.text_muted
        style = _WORD if self.text().isascii() else _WORD_WIDE
        text(
            painter,
            QRectF(0, 32, rect.width(), 18),
            self.text(),
            theme.font(style),
            words,
            Qt.AlignmentFlag.AlignCenter,
        )
        if self.busy:
            dot(painter, rect.width() / 2 + 13, 11, 4.5, c.canvas)
            dot(painter, rect.width() / 2 + 13, 11, 3, c.accent)
        if self.ring:
            focus_ring(painter, rect, Radius.L - 1)


class NavRail(QWidget):
    """The rail. The last `bottom` entries stand at its foot."""

    chosen = Signal(int)

    def __init__(self, entries: Sequence[tuple[str, str]], *, bottom: int = 1) -> None:
        super().__init__()
        self.setProperty("ground", "canvas")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(Size.RAIL)
        self.items = [NavItem(icon, name, f"Ctrl+{n + 1}") for n, (icon, name) in enumerate(entries)]
        split = len(self.items) - bottom
        body = column(*self.items[:split], None, *self.items[split:], gap=Space.XS)
        body.setContentsMargins(Space.S, Space.M, Space.S, Space.S)
        self.setLayout(body)
        for index, item in enumerate(self.items):
            item.clicked.connect(lambda _checked=False, index=index: self.chosen.emit(index))

    def set_busy(self, index: int, busy: bool, words: str = "") -> None:
        """The dot; `words` say to assistive tools what runs."""
        item = self.items[index]
        if item.busy != busy:
            item.busy = busy
            item.update()
        item.setAccessibleDescription(words if busy else "")

    def select(self, index: int) -> None:
        self.items[index].setChecked(True)

    def sizeHint(self) -> QSize:
        return QSize(Size.RAIL, 400)
