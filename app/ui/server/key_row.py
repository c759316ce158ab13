"""The key that clients send: shown as dots, seen and copied on request, renewed.

Invariant: it is on the screen only while the user wants to see it.
"""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QWidget

from app.services.server_key import masked
from app.ui import theme
from app.ui.tokens import Space, Type
from app.ui.widgets.button import IconButton
from app.ui.widgets.layout import Elided, column, label, row
from core.translation import say


class KeyRow(QWidget):
    """
    Signals:
        renew_asked: another key in its place
        copied: the key is in the clipboard
    """

    renew_asked = Signal()
    copied = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.key, self.is_seen = "", False
        self.words = Elided("", "body")
        self.words.setFont(theme.font(Type.CODE, code=True))
        self.see = IconButton("eye", say("server_ui.key_show"))
        self.see.clicked.connect(self._turn)
        self.copy = IconButton("copy", say("server_ui.key_copy"))
        self.copy.clicked.connect(self._copy)
        self.renew = IconButton("refresh", say("server_ui.key_renew"))
        self.renew.clicked.connect(self.renew_asked)
        self.remark = label("", "caption", "muted", wrap=True)
        line = row(self.words, self.see, self.copy, self.renew, gap=Space.XS)
        line.setStretch(0, 1)
        body = column(line, self.remark, gap=Space.XXS)
        body.setContentsMargins(Space.L, 0, Space.L, Space.M)
        self.setLayout(body)

    def show_key(self, key: str, *, is_kept: bool) -> None:
        self.key = key
        self.remark.setText(say("server_ui.key_kept" if is_kept else "server_ui.key_in_memory"))
        self._show()

    def _turn(self) -> None:
        self.is_seen = not self.is_seen
        name = say("server_ui.key_hide" if self.is_seen else "server_ui.key_show")
        self.see.show_as("eye_off" if self.is_seen else "eye", name)
        self._show()

    def _show(self) -> None:
        shown = self.key if self.is_seen else masked(self.key)
        self.words.setText(shown if self.key else say("server_ui.key_reading"))
        for button in (self.see, self.copy, self.renew):
            button.setEnabled(bool(self.key))

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.key)
        self.copied.emit()
