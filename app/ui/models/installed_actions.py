"""What can be done with a model that is here, each once: for the pane, the row's menu and the keys.

Invariant: nothing is lost by a click: what is removed can be brought back, and what fails says why on the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QPoint, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

from app.services import details
from app.services.installed import Installed
from app.ui import aio
from app.ui.models.reading import ReadingDialog
from app.ui.server.exchange import may_unload
from app.ui.widgets.menu import Menu
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

Guarded = Callable[[Awaitable[None]], Coroutine[Any, Any, None]]
VERBS = {
    "chat": ("models.chat_with", "chat"),
    "load": ("load.open", "chip"),
    "card": ("models.card", "card"),
    "licence": ("models.read_licence", "licence"),
    "verify": ("models.verify", "check"),
    "reveal": ("models.reveal", "folder"),
    "remove": ("models.remove", "trash"),
}


class InstalledActions:
    def __init__(self, window: Window, context: AppContext, guarded: Guarded):
        self._window, self._context, self._guarded = window, context, guarded

    def open_menu(self, parent: QWidget, model: Installed, where: QPoint) -> None:
        menu = Menu(parent)
        for verb, (words, icon) in VERBS.items():
            if verb == "remove":
                menu.addSeparator()
            menu.add(say(words), partial(self.act, verb, model), icon)
        menu.popup(where)

    def act(self, verb: str, model: Installed) -> None:
        name = model.manifest.name
        match verb:
            case "chat":
                self.chat_with(name)
            case "load":
                self._window.ask_load(name)
            case "reveal":
                QDesktopServices.openUrl(QUrl.fromLocalFile(str(model.files_folder)))
            case "card":
                aio.spawn(self._read(say("models.card_of", name=name), model, "card"), "card")
            case "licence":
                aio.spawn(self._read(say("models.licence_of", name=name), model, "licence"), "licence")
            case "verify":
                aio.spawn(self._guarded(self._verify(name)), "verify")
            case "remove":
                aio.spawn(self._guarded(self._remove(name)), "remove")
            case _:
                pass

    def chat_with(self, name: str) -> None:
        self._context.preferences.change(last_model=name)
        page = self._window.go("chat")
        page.start_with(name)  # type: ignore[union-attr]

    async def _read(self, title: str, model: Installed, kind: str) -> None:
        """A file of the model's own folder, as text."""
        dialog = ReadingDialog(self._window, title)
        filling = aio.spawn(self._fill(dialog, model, kind), f"read {kind}")
        try:
            await aio.ask(dialog)
        finally:
            filling.cancel()

    async def _fill(self, dialog: ReadingDialog, model: Installed, kind: str) -> None:
        text = await asyncio.to_thread(details.card if kind == "card" else details.licence_text, model)
        if not isValid(dialog):
            return
        if not text:
            dialog.show_nothing(say(f"models.no_{kind}"), say(f"models.no_{kind}_means"))
        elif kind == "card":
            dialog.show_markdown(text)
        else:
            dialog.show_plain(text)

    async def _verify(self, name: str) -> None:
        await self._context.library.check(name)
        self._window.notify("ok", say("models.intact", name=name))

    async def _remove(self, name: str) -> None:
        if self._context.inference.state.name == name:
            if not await may_unload(self._window, self._context):
                return
            await self._context.inference.unload()
        await self._context.library.remove(name)
        undo = lambda: aio.spawn(self._guarded(self._context.library.restore(name)), "restore")  # noqa: E731
        self._window.notify("info", say("models.removed", name=name), say("chat.undo"), undo)
