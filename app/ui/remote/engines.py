"""The machines whose models can answer in the chat: what is kept of each, whether it answers now, and what can be done.

Invariant: it shows what the service keeps; nothing is asked over the network unless a person presses Check; what is
removed can be brought back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDialog, QWidget
from shiboken6 import isValid

from app.ui import aio
from app.ui.remote.engine_dialog import EngineDialog
from app.ui.remote.engine_row import EngineRow
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import EmptyState
from app.ui.widgets.layout import Card, Line, Scroll, column, label, pane, row
from core.errors import UserError
from core.remote_engine import RemoteEngine
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window


class RemoteEngines(QWidget):
    """A view of a page or the body of a dialog. Filled when it is first shown.

    Attributes:
        rows: of the engines, by name
    """

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self.rows: dict[str, EngineRow] = {}
        self._window, self._context = window, context
        self._lines = column(gap=0)
        self.add = Button(say("remote.add"), "primary", "plus")
        self.add.clicked.connect(self.ask_new)
        self._explain = label(say("remote.explain"), "body", "soft", wrap=True)
        head = row(self._explain, self.add, gap=Space.XL)
        head.setStretch(0, 1)
        self._head = pane(head)
        self._card = Card(self._lines, padding=0)
        body = pane(column(self._card, None, gap=0))
        self._list = Scroll(body)
        first = Button(say("remote.add"), "primary", "plus")
        first.clicked.connect(self.ask_new)
        self._empty = EmptyState("globe", say("remote.empty_title"), say("remote.explain"), first)
        whole = column(self._head, self._list, self._empty, gap=Space.L)
        whole.setStretch(1, 1)
        whole.setStretch(2, 1)
        self.setLayout(whole)
        self._end: Callable[[], None] = context.remote.changed.listen(lambda _: self._refresh())
        self._show_parts()

    def leave(self) -> None:
        """Nothing is listened to any more."""
        self._end()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._refresh()

    def _show_parts(self) -> None:
        has_any = bool(self._context.remote.engines)
        self._head.setVisible(has_any)
        self._list.setVisible(has_any)
        self._empty.setVisible(not has_any)

    def _refresh(self) -> None:
        if self.isVisible():
            aio.spawn(self._fill(), "other machines")

    async def _fill(self) -> None:
        remote = self._context.remote
        engines = remote.engines
        keys = [bool(await remote.kept_key(engine.url)) for engine in engines]
        if not isValid(self) or engines != remote.engines:
            return  # gone, or filled again already
        while item := self._lines.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        self.rows = {}
        self._show_parts()
        for place, (engine, has_key) in enumerate(zip(engines, keys, strict=True)):
            if place:
                self._lines.addWidget(Line())
            self._lines.addWidget(self._row(engine, has_key))
            await asyncio.sleep(0)
            if not isValid(self) or engines != remote.engines:
                return

    def _row(self, engine: RemoteEngine, has_key: bool) -> EngineRow:
        line = self.rows[engine.name] = EngineRow(engine, has_key=has_key)
        line.check.clicked.connect(lambda: aio.spawn(self._check(engine, line), "check machine"))
        line.change.clicked.connect(lambda: aio.spawn(self._ask(engine), "change machine"))
        line.remove.clicked.connect(lambda: aio.spawn(self._remove(engine), "remove machine"))
        return line

    # --- what can be done ------------------------------------------------------------

    def ask_new(self) -> None:
        aio.spawn(self._ask(None), "add machine")

    async def _ask(self, engine: RemoteEngine | None) -> None:
        remote = self._context.remote
        has_key = engine is not None and bool(await remote.kept_key(engine.url))
        has_keyring = await remote.has_keyring()
        if not isValid(self):
            return
        dialog = EngineDialog(self.window(), remote, engine, has_key=has_key, has_keyring=has_keyring)
        if await aio.ask(dialog) != QDialog.DialogCode.Accepted or dialog.made is None:
            return
        kept = await remote.keep(dialog.made, dialog.new_key, old=engine.name if engine else "")
        words = say("remote.kept", name=dialog.made.called(dialog.made.models[0]))
        self._window.notify("ok" if kept else "info", words if kept else say("remote.key_in_memory"))

    async def _check(self, engine: RemoteEngine, line: EngineRow) -> None:
        line.show_checking()
        try:
            found = await self._context.remote.check(engine.url)
        except UserError as error:
            if isValid(line):
                line.show_trouble(str(error))
            return
        if isValid(line):
            line.show_found(found)

    async def _remove(self, engine: RemoteEngine) -> None:
        key = await self._context.remote.remove(engine)
        undo = partial(self._bring_back, engine, key)
        self._window.notify("info", say("remote.removed", name=engine.name), say("remote.undo"), undo)

    def _bring_back(self, engine: RemoteEngine, key: str) -> None:
        if engine.name in [one.name for one in self._context.remote.engines]:
            return  # another one has been given its name meanwhile
        aio.spawn(self._context.remote.keep(engine, key or None), "bring machine back")
