"""The command that measures the same table again, to be copied."""

from __future__ import annotations

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QLabel, QWidget

from app.ui import theme
from app.ui.tokens import Space, Type
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, column, label, row
from core.translation import say

JOINED = "\u2060"  # no break here; the button copies the command without it


class CommandDialog(QDialog):
    def __init__(self, parent: QWidget, command: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(say("profile_ui.command_title"))
        self.setModal(True)
        self.line = command_label(command)
        self.copy = Button(say("kit.copy"), "primary", "copy")
        self.copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(command))
        close = Button(say("kit.close"), "ghost")
        close.clicked.connect(self.accept)
        means = label(say("profile_ui.command_means"), "body", "soft", wrap=True)
        body = column(label(say("profile_ui.command_title"), "heading"), means,
                      Card(column(self.line), padding=Space.M, ground="sunken"), row(None, close, self.copy),
                      gap=Space.M)  # fmt: skip
        body.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.L)
        self.setLayout(body)
        self.setMinimumWidth(620)


def command_label(command: str) -> QLabel:
    """Broken between words only: Qt would break an option behind its dashes."""
    line = label(command.replace("-", f"-{JOINED}"), "caption", wrap=True)
    line.setFont(theme.font(Type.CODE, code=True))
    line.setAccessibleName(command)
    return line
