"""The program's log in the window, newest at the foot, secrets masked; follows while it is shown."""

from __future__ import annotations

from PySide6.QtCore import QTimer
from PySide6.QtGui import QGuiApplication, QHideEvent, QShowEvent
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from app.ui import theme
from app.ui.tokens import Space, Type
from app.ui.widgets.button import Button
from app.ui.widgets.fields import SearchField
from app.ui.widgets.layout import column, label, row
from core import log, paths
from core.translation import say

REFRESH_MS = 1000


class LogView(QWidget):
    """A filter, the lines, Copy. Nothing is read while it is hidden."""

    def __init__(self) -> None:
        super().__init__()
        self._file = paths.logs() / log.FILE_NAME
        self._shown = ""
        self._filter = SearchField(say("log.filter"))
        self._filter.textChanged.connect(lambda: self._refresh(force=True))
        self._text = QPlainTextEdit()
        self._text.setReadOnly(True)
        self._text.setProperty("field", True)
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setFont(theme.font(Type.CODE, code=True))
        self._text.setAccessibleName(say("settings.log"))
        self._text.setPlaceholderText(say("log.empty"))
        self._copy = Button(say("kit.copy"), "secondary", "copy")
        self._copy.clicked.connect(self._take)
        where = label(str(self._file), "caption", "muted")
        body = column(row(self._filter, None, where, self._copy, gap=Space.M), self._text, gap=Space.M)
        body.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
        self.setLayout(body)
        self._timer = QTimer(self, interval=REFRESH_MS)
        self._timer.timeout.connect(self._refresh)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._refresh(force=True)
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._timer.stop()

    def _refresh(self, *, force: bool = False) -> None:
        text = log.tail(self._file)
        if text == self._shown and not force:
            return
        self._shown = text
        wanted = self._filter.text().casefold()
        lines = [line for line in text.splitlines() if wanted in line.casefold()]
        bar = self._text.verticalScrollBar()
        at_foot = bar.value() >= bar.maximum() - 4
        kept = bar.value()
        self._text.setPlainText("\n".join(lines))
        bar.setValue(bar.maximum() if at_foot or force else kept)

    def _take(self) -> None:
        QGuiApplication.clipboard().setText(self._text.toPlainText())
        self._copy.setText(say("kit.copied"))
