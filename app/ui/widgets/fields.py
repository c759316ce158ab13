"""Text fields: search with its icon and shortcut hint, and rows of a settings form."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QLineEdit, QWidget

from app.ui import icons, theme
from app.ui.tokens import Size, Space, Type
from app.ui.widgets.layout import Line, column, label, row
from app.ui.widgets.painting import begin, width_of


class SearchField(QLineEdit):
    """A line edit with a magnifier and, while empty, the shortcut that brings you here."""

    def __init__(self, hint: str, shortcut: str = "") -> None:
        super().__init__()
        self.setPlaceholderText(hint)
        self.setAccessibleName(hint)
        self.setClearButtonEnabled(False)
        self.setTextMargins(Size.ICON_S + 6, 0, 0, 0)
        self._shortcut = shortcut

    def sizeHint(self) -> QSize:
        return QSize(280, Size.CONTROL)

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = begin(self)
        tint = theme.colors().text_muted
        icons.paint(painter, "search", Space.S + 1, (self.height() - Size.ICON_S) / 2, Size.ICON_S, tint)
        need = width_of(self.placeholderText(), self.font()) + width_of(self._shortcut, theme.font(Type.CAPTION))
        roomy = need + Size.ICON_S + 4 * Space.S < self.width()
        if self._shortcut and roomy and not self.text() and not self.hasFocus():
            painter.setFont(theme.font(Type.CAPTION))
            painter.setPen(theme.color(tint))
            rect = self.rect().adjusted(0, 0, -Space.S - 2, 0)
            painter.drawText(rect, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, self._shortcut)


def setting(name: str, meaning: str, control: QWidget, *, last: bool = False) -> QWidget:
    """One row of a form: what it is, what it does, and the control at the right."""
    result = QWidget()
    words = column(label(name, "strong"), label(meaning, "caption", "muted", wrap=True), gap=Space.XXS)
    line = row(words, control, gap=Space.XL)
    line.setStretch(0, 1)
    line.setContentsMargins(Space.L, Space.M, Space.L, Space.M)
    body = column(line, gap=0)
    if not last:
        body.addWidget(Line())
    result.setLayout(body)
    return result
