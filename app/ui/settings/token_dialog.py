"""Asks for an access token. Invariant: what is typed is shown as dots and leaves this dialog only through `token`."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QLineEdit, QWidget

from app.services.secrets import Place
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import column, label, row
from core.translation import say


class TokenDialog(QDialog):
    """Accepted with a token to keep, or with an empty one to forget the old."""

    def __init__(self, parent: QWidget, place: Place, has_keyring: bool) -> None:
        super().__init__(parent)
        self.token = ""
        name = say(f"settings.{place}_token")
        self.setWindowTitle(name)
        self.setModal(True)
        self._field = QLineEdit()
        self._field.setEchoMode(QLineEdit.EchoMode.Password)
        self._field.setAccessibleName(name)
        self._field.setMinimumWidth(420)
        keep = Button(say("settings.token_keep"), "primary")
        keep.setEnabled(False)
        forget = Button(say("settings.token_forget"), "ghost")
        cancel = Button(say("kit.cancel"), "secondary")
        self._field.textChanged.connect(lambda text: keep.setEnabled(bool(text.strip())))
        self._field.returnPressed.connect(keep.click)
        keep.clicked.connect(lambda: self._take(self._field.text().strip()))
        forget.clicked.connect(lambda: self._take(""))
        cancel.clicked.connect(self.reject)
        where = say("settings.token_keyring" if has_keyring else "settings.token_no_keyring")
        body = column(
            label(name, "heading"),
            label(where, "body", "soft", wrap=True),
            self._field,
            row(forget, None, cancel, keep),
            gap=Space.M,
        )
        body.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.L)
        self.setLayout(body)

    def _take(self, token: str) -> None:
        self.token = token
        self.accept()
