"""Installed: the models on this machine, what other programs have left here, and where the first one comes from.

Invariant: the table shows exactly what the library finds on disk; a model on its way in stands above it until it is
whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QTimer, Signal
from PySide6.QtWidgets import QStackedWidget, QWidget
from shiboken6 import isValid

from app.services.installed import Installed, by_base
from app.ui import aio
from app.ui.models.found_here import FoundHere
from app.ui.models.installed_table import InstalledTable, Known, estimated_words, measured_words
from app.ui.models.running_card import RunningCard
from app.ui.pacing import Paced
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import EmptyState, Skeleton
from app.ui.widgets.layout import Card, column, label, pane, row
from core import store
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from core.hub.local_cache import Cached
    from core.store.records import StoredModel

STARTER = "starter"
SETTLE_MS = 150
MEMORY_MS = 5000


class InstalledView(QWidget):
    """
    Signals:
        chosen: another row, or other facts of it
        asked: a verb of InstalledActions for the chosen model
        menu_asked: a model, and where on the screen its menu shall open
        starter_asked, import_asked, discover_asked
        listed: the models were read
    """

    chosen = Signal()
    asked = Signal(str)
    menu_asked = Signal(object, QPoint)
    starter_asked = Signal()
    import_asked = Signal()
    discover_asked = Signal()
    listed = Signal()

    def __init__(self, context: AppContext, running: RunningCard) -> None:
        super().__init__()
        self.models: list[Installed] = []
        self.stored: dict[str, StoredModel] = {}
        self.found = FoundHere()
        self._context, self._library = context, context.library
        self._known = Known({}, {}, context.estimates.free)
        self._reading: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self.is_ready = False
        self._running = running
        self._wait = Paced(self, SETTLE_MS, self.refresh)
        self._starter = Paced(self, SETTLE_MS, self._show_offers)
        self._watch = QTimer(self, interval=MEMORY_MS)
        self._watch.timeout.connect(self.refresh)
        self._ends: list[Callable[[], None]] = [
            self._library.changed.listen(self._wait.ask),
            context.downloads.changed.listen(self._starter.ask),
        ]

    # --- layout ----------------------------------------------------------------------

    def build(self) -> Iterator[None]:
        """In pieces, into the page that is in view, so that no frame waits for all of them."""
        waiting = column(Skeleton(6), None)
        waiting.setContentsMargins(Space.L, Space.L, Space.L, Space.L)
        self._stack = QStackedWidget()
        self._offer = self._starter_offer()
        whole = column(self._running, self._offer, self.found, self._stack, gap=0)
        whole.setStretch(3, 1)
        self.setLayout(whole)
        self._stack.addWidget(pane(waiting))
        yield
        self.table = InstalledTable()
        self.table.selectionModel().currentRowChanged.connect(lambda *_: self.chosen.emit())
        self.table.chosen.connect(lambda _: self.asked.emit("chat"))
        self.table.menu_asked.connect(lambda place, where: self.menu_asked.emit(self.table.models[place], where))
        self._stack.addWidget(Card(column(self.table), padding=1))
        yield
        self._stack.addWidget(self._make_empty())
        self.is_ready = True
        self.refresh()

    def _make_empty(self) -> EmptyState:
        self.fetch = Button(say("chat.fetch_starter"), "primary", "download")
        self.fetch.clicked.connect(self.starter_asked)
        find = Button(say("models.find"), "secondary", "search")
        find.clicked.connect(self.discover_asked)
        bring = Button(say("models.import"), "secondary", "folder")
        bring.clicked.connect(self.import_asked)
        title, meaning = say("chat.no_model_title"), say("models.empty_body")
        self.empty = EmptyState("models", title, meaning, self.fetch, find, bring)
        return self.empty

    def _starter_offer(self) -> QWidget:
        get = Button(say("chat.fetch_starter"), "secondary", "download")
        get.clicked.connect(self.starter_asked)
        body = label(say("models.starter_body"), "caption", "muted", wrap=True)
        words = column(label(say("models.starter_title"), "strong", wrap=True), body, gap=Space.XXS)
        line = row(words, get, gap=Space.L)
        line.setStretch(0, 1)
        whole = column(Card(line), gap=0)
        whole.setContentsMargins(0, 0, 0, Space.M)
        result = pane(whole)
        result.hide()
        return result

    # --- life ----------------------------------------------------------------------------

    def enter(self) -> None:
        """It comes into view."""
        if not self.is_ready:
            return
        self.refresh()
        self._watch.start()
        if self._looking is None:
            self._looking = aio.spawn(self._look_around(), "models of other programs")

    def rest(self) -> None:
        self._watch.stop()

    def leave(self) -> None:
        for end in self._ends:
            end()
        self._wait.stop()
        self._starter.stop()
        self._watch.stop()
        for task in (self._reading, self._looking):
            if task is not None:
                task.cancel()

    # --- what is there ---------------------------------------------------------------

    def refresh(self) -> None:
        if not self.is_ready:
            return
        if self._reading is not None:
            self._reading.cancel()  # what it read is old by now
        self._reading = aio.spawn(self._read(), "models")

    async def _read(self) -> None:
        models = by_base(await self._library.installed())
        known = await self._context.store.call(lambda s: store.models.known(s))
        self.models, self.stored = models, {model.name: model for model in known}
        estimates = self._context.estimates
        self._known = replace(self._known, stored=self.stored)
        self.table.show_models(models, self._known)
        self._show_offers()
        self.listed.emit()
        self.chosen.emit()
        if not models:
            return
        await estimates.refresh(self._context.inference.state.loaded)
        badges = await estimates.of_installed(models)
        if isValid(self):
            self._known = Known(self.stored, badges, estimates.free)
            self.table.show_models(models, self._known)
            self.chosen.emit()

    async def _look_around(self) -> None:
        found = await self._library.found_here()
        if isValid(self):
            self.found.show_models(found)

    def look_again(self, tried: Cached) -> None:
        """After one of them was taken over, or could not be."""
        self._looking = aio.spawn(self._look_after(tried), "models of other programs")

    async def _look_after(self, tried: Cached) -> None:
        await self._look_around()
        if isValid(self):
            self.found.end(tried)  # not before: one that is here now must not be taken twice

    def _show_offers(self) -> None:
        """The table, or what brings the first model; the starter while it is neither here nor on its way."""
        if not self.is_ready:
            return
        is_coming = STARTER in self._library.transfers or self._context.downloads.find(STARTER) is not None
        has_starter = any(model.manifest.name == STARTER for model in self.models)
        self._stack.setCurrentIndex(1 if self.models else 2)
        self.fetch.setVisible(not is_coming and not has_starter)
        self._offer.setVisible(bool(self.models) and len(self.models) < 3 and not has_starter and not is_coming)

    def memory_hint(self, name: str) -> str:
        """What it took here, or would take, in a sentence; "" while that is not known."""
        stored, badge = self._known.stored.get(name), self._known.badges.get(name)
        if stored is not None and stored.measured is not None:
            return measured_words(stored.measured)
        return estimated_words(badge) if badge is not None else ""

    def model(self) -> Installed | None:
        """The chosen one."""
        return self.table.chosen_model() if self.is_ready else None
