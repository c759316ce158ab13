"""After a crash: what happened, what is safe, the report to copy. Shown once, at the next start."""

from __future__ import annotations

from PySide6.QtGui import QGuiApplication, QTextCursor
from PySide6.QtWidgets import QDialog, QPlainTextEdit, QWidget

from app.crash import Crash
from app.ui import theme
from app.ui.tokens import Space, Type
from app.ui.widgets.button import Button
from app.ui.widgets.layout import column, label, row
from core.translation import say


class CrashDialog(QDialog):
    def __init__(self, parent: QWidget, crash: Crash) -> None:
        super().__init__(parent)
        self.setWindowTitle(say("crash.title"))
        self.setModal(True)
        when = f"{crash.when.astimezone():%Y-%m-%d %H:%M}"
        self._text = QPlainTextEdit(crash.text)
        self._text.setReadOnly(True)
        if not crash.has_trace:
            self._text.moveCursor(QTextCursor.MoveOperation.End)  # the last lines of the log say most
        self._text.setProperty("field", True)
        self._text.setFont(theme.font(Type.CODE, code=True))
        self._text.setAccessibleName(say("crash.report"))
        self._copy = Button(say("crash.copy"), "secondary", "copy")
        self._copy.clicked.connect(self._take)
        close = Button(say("crash.go_on"), "primary")
        close.clicked.connect(self.accept)
        happened = say("crash.with_trace" if crash.has_trace else "crash.without_trace", when=when)
        body = column(
            label(say("crash.title"), "title"),
            label(happened, wrap=True),
            label(say("crash.safe"), "body", "soft", wrap=True),
            self._text,
            row(label(say("crash.private"), "caption", "muted", wrap=True), self._copy, close, gap=Space.S),
            gap=Space.M,
        )
        body.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.L)
        self.setLayout(body)
        self.resize(720, 520)

    def _take(self) -> None:
        QGuiApplication.clipboard().setText(self._text.toPlainText())
        self._copy.setText(say("kit.copied"))
