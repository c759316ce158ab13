"""Adding a machine or changing one: where it is, its key, and which of its models shall be in the chat.

Invariant: what is saved has answered at this address with this key, or is as it was; a key is shown as dots and leaves
this dialog only through `new_key`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QDialog, QLineEdit, QWidget
from shiboken6 import isValid

from app.services.remote.engines import RemoteService
from app.ui import aio
from app.ui.remote.model_ticks import ModelTicks
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Line, Scroll, column, label, pane, row
from core.errors import UserError
from core.remote_engine import RemoteEngine, checked_name, checked_url
from core.translation import catalogue, language, say

if TYPE_CHECKING:
    from app.services.remote.client import Found

WIDTH, HEIGHT = 560, 620


class EngineDialog(QDialog):
    """
    Attributes:
        made: the engine as it shall be kept, once accepted
        new_key: None leaves the key as it is, "" forgets it
    """

    def __init__(
        self, parent: QWidget, remote: RemoteService, engine: RemoteEngine | None, *, has_key: bool, has_keyring: bool
    ) -> None:
        """has_key: one is kept for `engine`; has_keyring: a new one will outlive the program"""
        super().__init__(parent)
        self.made: RemoteEngine | None = None
        self._remote, self._engine, self._has_key = remote, engine, has_key
        self._url = engine.url if engine else ""  # that has answered
        self._forgets = False
        self.setModal(True)
        title = say("remote.edit_title", name=engine.name) if engine else say("remote.add_title")
        self.setWindowTitle(title)
        self.name = _field("name", engine.name if engine else "")
        self.url = _field("url", engine.url if engine else "")
        self.key = _field("key", "")
        self.key.setEchoMode(QLineEdit.EchoMode.Password)
        self.check = Button(say("remote.check"), "secondary", "refresh")
        self.forget = Button(say("remote.key_forget"), "ghost", small=True)
        self.ticks = ModelTicks()
        self.save = Button(say("remote.keep"), "primary")
        self._open = label(say("remote.unencrypted_means"), "caption", "warn", wrap=True)
        self._trouble = label("", "caption", "bad", wrap=True)
        where = say("remote.key_keyring" if has_keyring else "remote.key_no_keyring")
        self._lay_out(title, where)
        room = (parent.window().parentWidget() or parent).window().size()  # the parent may be a dialog itself
        self.resize(min(WIDTH, room.width() - 40), min(HEIGHT, room.height() - 40))
        self._wire()
        if engine is not None:
            self.ticks.show_models(engine.models, engine.models)
        self._say("")
        self._show_key()
        self._settle()
        self.name.setFocus()

    @property
    def new_key(self) -> str | None:
        typed = self.key.text().strip()
        return typed or ("" if self._forgets else None)

    def _lay_out(self, title: str, where: str) -> None:
        address = row(self.url, self.check, gap=Space.S)
        address.setStretch(0, 1)
        key_foot = row(label(where, "caption", "muted", wrap=True), self.forget, gap=Space.S)
        key_foot.setStretch(0, 1)
        parts = column(
            label(title, "heading"),
            column(label(say("remote.name"), "strong"), self.name, gap=Space.XS),
            column(label(say("remote.url"), "strong"), address, self._open, gap=Space.XS),
            column(label(say("remote.key"), "strong"), self.key, key_foot, gap=Space.XS),
            self._trouble,
            self.ticks,
            gap=Space.M,
        )
        parts.setStretch(5, 1)
        parts.setContentsMargins(Space.XL, Space.L, Space.XL, Space.M)
        cancel = Button(say("kit.cancel"), "secondary")
        cancel.clicked.connect(self.reject)
        foot = row(None, cancel, self.save, gap=Space.S)
        foot.setContentsMargins(Space.XL, Space.M, Space.XL, Space.L)
        whole = column(Scroll(pane(parts)), Line(), foot, gap=0)
        whole.setStretch(0, 1)
        self.setLayout(whole)

    def _wire(self) -> None:
        self.name.textChanged.connect(lambda _: self._settle())
        self.url.textEdited.connect(lambda _: self._forget_found())
        self.key.textEdited.connect(lambda _: self._forget_found())
        for field in (self.url, self.key):
            field.returnPressed.connect(self.check.click)
        self.check.clicked.connect(self.check_now)
        self.forget.clicked.connect(self._forget_key)
        self.ticks.changed.connect(self._settle)
        self.save.clicked.connect(self._accept)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            return  # of a field: it checks, and does not close
        super().keyPressEvent(event)

    # --- the check -------------------------------------------------------------------

    def check_now(self) -> None:
        aio.spawn(self._check(), "check machine")

    async def _check(self) -> None:
        asked = self.url.text(), self.key.text()
        self._say("")
        self.check.setEnabled(False)
        self.check.setText(say("remote.checking"))
        try:
            found: Found | UserError = await self._remote.check(checked_url(asked[0]), self.new_key)
        except UserError as error:
            found = error
        if not isValid(self):
            return
        self.check.setText(say("remote.check"))
        self._settle()
        if asked != (self.url.text(), self.key.text()):
            return  # typed on meanwhile
        if isinstance(found, UserError):
            self._say(_in_here(found))
        else:
            self._take(found)

    def _take(self, found: Found) -> None:
        self._url = found.url
        self.url.setText(found.url)
        if not self.name.text().strip():
            self.name.setText(self._free_name(found.url))
        self.ticks.show_models(found.models, self._engine.models if self._engine else ())
        self._settle()

    def _forget_found(self) -> None:
        """Another address or key: what answered before is not what will answer."""
        self._url = ""
        self.ticks.clear()
        self._say("")
        self._show_key()
        self._settle()

    def _forget_key(self) -> None:
        self._forgets = True
        self._forget_found()

    def _free_name(self, url: str) -> str:
        """The head of the host's name, where it has one and nobody is called so."""
        head = (urlsplit(url).hostname or "").partition(".")[0]
        wished = head if head and not head.isdigit() and ":" not in head else say("remote.name_hint")
        taken = {one.name.lower() for one in self._remote.engines}
        numbered = (f"{wished}-{number}" for number in range(2, len(taken) + 3))
        return next(name for name in (wished, *numbered) if name.lower() not in taken)

    # --- shown -----------------------------------------------------------------------

    def _show_key(self) -> None:
        """Whether one is kept: only for the address it was kept with."""
        is_same = self._engine is not None and self.url.text().strip() == self._engine.url
        is_kept = self._has_key and is_same and not self._forgets
        self.key.setPlaceholderText(say("remote.key_kept" if is_kept else "remote.key_hint"))
        self.forget.setVisible(is_kept)

    def _settle(self) -> None:
        try:
            url = checked_url(self.url.text())
        except UserError:
            url = ""
        self._open.setVisible(bool(url) and RemoteEngine("", url).is_readable_on_the_way)
        self.check.setEnabled(bool(self.url.text().strip()))
        why = "" if self._url and self.ticks.chosen() else say("remote.models_hint")
        self.save.setEnabled(not why and bool(self.name.text().strip()))
        self.save.setToolTip(why)

    def _say(self, words: str) -> None:
        self._trouble.setText(words)
        self._trouble.setVisible(bool(words))

    def _accept(self) -> None:
        own = self._engine.name if self._engine else ""
        others = [one.name for one in self._remote.engines if one.name != own]
        try:
            name = checked_name(self.name.text(), others)
        except UserError as error:
            self._say(str(error))
            self.name.setFocus()
            return
        self.made = RemoteEngine(name, self._url, self.ticks.chosen())
        self.accept()


def _in_here(error: UserError) -> str:
    """Its sentence for who stands before the fields: the usual one leads here."""
    key = error.code.replace("remote_", "remote.check_", 1)
    return say(key, **error.params) if key in catalogue(language()) else str(error)


def _field(name: str, text: str) -> QLineEdit:
    edit = QLineEdit(text)
    edit.setAccessibleName(say(f"remote.{name}"))
    edit.setPlaceholderText(say(f"remote.{name}_hint"))
    return edit
