"""A part of a page under a line that opens and closes it."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Signal
from PySide6.QtGui import QKeyEvent, QPaintEvent, Qt
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui import icons, theme
from app.ui.tokens import Radius, Size, Space, Type
from app.ui.widgets.button import Pressable
from app.ui.widgets.layout import column
from app.ui.widgets.painting import begin, box, focus_ring, text
from core.translation import say


class FoldLine(Pressable):
    """The line: an arrow, the title, and a few words that say what is inside."""

    def __init__(self, title: str, remark: str = "") -> None:
        super().__init__(title)
        self._title, self._remark = title, remark
        self.setCheckable(True)
        self.setFixedHeight(Size.CONTROL_L)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.toggled.connect(self._say)
        self._say(False)

    def _say(self, is_open: bool) -> None:
        self.setAccessibleDescription(say("transcript.open" if is_open else "transcript.folded"))

    def sizeHint(self) -> QSize:
        return QSize(240, Size.CONTROL_L)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not event.modifiers():
            self.click()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        if veil := self.veil():
            box(painter, rect, Radius.M, veil)
        mark = "down" if self.isChecked() else "right"
        icons.paint(painter, mark, Space.M, (rect.height() - Size.ICON_S) / 2, Size.ICON_S, c.text_muted)
        place = rect.adjusted(Space.M + Size.ICON_S + Space.S, 0, -Space.M, 0)
        used = text(painter, place, self._title, theme.font(Type.BODY_STRONG), c.text)
        if self._remark:
            rest = place.adjusted(used + Space.M, 0, 0, 0)
            text(painter, rest, self._remark, theme.font(Type.CAPTION), c.text_muted)
        if self.ring:
            focus_ring(painter, rect, Radius.M)


class Fold(QWidget):
    """
    Signals:
        opened: for the first time, so that what is costly is made only then
    """

    opened = Signal()

    def __init__(self, title: str, body: QWidget, remark: str = "") -> None:
        super().__init__()
        self.line, self.body = FoldLine(title, remark), body
        body.hide()
        self._was_open = False
        self.line.toggled.connect(self._turn)
        self.setLayout(column(self.line, body, gap=0))

    def open(self) -> None:
        self.line.setChecked(True)

    def _turn(self, is_open: bool) -> None:
        self.body.setVisible(is_open)
        if is_open and not self._was_open:
            self._was_open = True
            self.opened.emit()
