"""The models page: what is on this machine, what is on its way in, and the details of the chosen model.

Invariant: the table shows exactly what the library finds on disk; a model on its way in stands above it until it is
whole.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QItemSelectionModel
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from app.services import details
from app.services.details import Details
from app.services.library import Installed, by_base
from app.ui import aio, shortcuts
from app.ui.model_detail import ModelDetail
from app.ui.tokens import Space
from app.ui.transfers import TransferCard
from app.ui.why import why
from app.ui.widgets.button import Button, IconButton
from app.ui.widgets.feedback import Banner, EmptyState
from app.ui.widgets.layout import Card, Line, column, label, pane, row
from app.ui.widgets.menu import Menu
from app.ui.widgets.page import headed, page_header
from app.ui.widgets.table import Cell, Rows, Table
from core import figures, store
from core.errors import UserError
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

STARTER = "starter"
ASKS_FOR_BASE = ("adapter_base_unknown", "adapter_base_gone")
COLUMNS = (("model", 0), ("weights", 110), ("size", 100), ("context", 110), ("used", 156))


class ModelsPage(QWidget):
    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self._window, self._context, self._library = window, context, context.library
        self._models: list[Installed] = []
        self._used: dict[str, datetime | None] = {}
        self._details: dict[str, Details] = {}
        self._reading: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._error = ""
        self.setAcceptDrops(True)
        self._import = Button(say("models.import"), "secondary", "folder")
        self._import.setToolTip(shortcuts.keys("models", "import_model"))
        self._import.clicked.connect(self._ask_import)
        self._toggle = IconButton("panel", say("models.details"))
        self._toggle.setCheckable(True)
        self._toggle.toggled.connect(lambda _: self._show_detail())
        self.detail = ModelDetail()
        self.detail.asked.connect(self._act)
        self.detail.explain_asked.connect(window.explain)
        self._body: QVBoxLayout = column(gap=Space.M)
        self._body.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
        self._line = Line(vertical=True)
        middle = row(pane(self._body), self._line, self.detail, gap=0)
        middle.setStretch(0, 1)
        header = page_header(say("window.models"), None, self._import, self._toggle)
        self.setLayout(headed(header, pane(middle)))
        self._build_body()
        self._bind()
        self._end = self._library.changed.listen(lambda _: self._refresh())
        self._refresh()

    # --- layout --------------------------------------------------------------------

    def _build_body(self) -> None:
        self._notice = column(gap=0)
        self._transfers = TransferCard()
        self._transfers.cancelled.connect(self._library.cancel)
        self._model = Rows([say(f"models.{name}") for name, _ in COLUMNS], [])
        self.table = Table(say("window.models"), self._model, [width for _, width in COLUMNS], tall=True)
        self.table.selectionModel().currentRowChanged.connect(lambda *_: self._show_detail())
        self.table.doubleClicked.connect(lambda _: self._act("chat"))
        frame = column(self.table)
        self._table_card = Card(frame, padding=1)
        self.fetch = Button(say("chat.fetch_starter"), "primary", "download")
        self.fetch.clicked.connect(lambda: self.pull(STARTER))
        bring = Button(say("models.import"), "secondary", "folder")
        bring.clicked.connect(self._ask_import)
        self.empty = EmptyState("models", say("chat.no_model_title"), say("models.empty_body"), self.fetch, bring)
        self._offer = self._starter_offer()
        for part in (self._transfers, self._offer, self._table_card, self.empty):
            if part is self._transfers:
                self._body.addLayout(self._notice)
            self._body.addWidget(part, 1 if part in (self._table_card, self.empty) else 0)
        self._body.addStretch(0)

    def _starter_offer(self) -> QWidget:
        get = Button(say("chat.fetch_starter"), "secondary", "download")
        get.clicked.connect(lambda: self.pull(STARTER))
        body = label(say("models.starter_body"), "caption", "muted", wrap=True)
        words = column(label(say("models.starter_title"), "strong", wrap=True), body, gap=Space.XXS)
        line = row(words, get, gap=Space.L)
        line.setStretch(0, 1)
        return Card(line)

    def _bind(self) -> None:
        verbs = (("chat_with", "chat"), ("load_options", "load"), ("verify", "verify"), ("remove", "remove"))
        for action, verb in verbs:
            shortcuts.bind(self, "models", action, partial(self._act, verb))
        shortcuts.bind(self, "models", "pull", lambda: self.pull(STARTER))
        shortcuts.bind(self, "models", "import_model", self._ask_import)

    def adapt(self, wide: bool) -> None:
        self._toggle.setChecked(wide)
        self._show_detail()

    def leave(self) -> None:
        self._end()
        for task in (self._loading, self._reading):
            if task is not None:
                task.cancel()

    # --- what is there ---------------------------------------------------------------

    def _refresh(self) -> None:
        self._transfers.show_transfers(self._library.transfers)
        if self._loading is not None:
            self._loading.cancel()  # what it read is old by now
        self._loading = aio.spawn(self._load(), "models")

    async def _load(self) -> None:
        models = by_base(await self._library.installed())
        known = await self._context.store.call(lambda s: store.models.known(s))
        used = {model.name: model.last_used for model in known}
        if (models, used) != (self._models, self._used) or not models:
            chosen = self._chosen()
            self._models, self._used = models, used
            self._details = {}
            names = {model.manifest.name for model in models}
            self._model.replace([_cells(model, used.get(model.manifest.name), names) for model in models])
            self._select(chosen.manifest.name if chosen else "")
        has_starter = any(model.manifest.name == STARTER for model in models)
        self._table_card.setVisible(bool(models))
        self.empty.setVisible(not models and not self._library.transfers)
        self._offer.setVisible(bool(models) and not has_starter and STARTER not in self._library.transfers)
        self._show_detail()

    def _select(self, name: str) -> None:
        places = [place for place, model in enumerate(self._models) if model.manifest.name == name]
        if self._models:
            flags = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows
            index = self._model.index(places[0] if places else 0, 0)
            self.table.selectionModel().setCurrentIndex(index, flags)

    def _chosen(self) -> Installed | None:
        place = self.table.currentIndex().row()
        return self._models[place] if 0 <= place < len(self._models) else None

    def _show_detail(self) -> None:
        chosen = self._chosen()
        shown = chosen is not None and self._toggle.isChecked()
        self.detail.setVisible(shown)
        self._line.setVisible(shown)
        if chosen is not None and shown:
            self._fill_detail(chosen)

    def _fill_detail(self, chosen: Installed) -> None:
        """What the library knows at once, what stands in the model's files as soon as it has been read."""
        name = chosen.manifest.name
        known = self._details.get(name)
        self.detail.show_model(chosen, known or Details(), tuple(details.adapters_of(chosen, self._models)))
        if self._reading is not None:
            self._reading.cancel()
        self._reading = aio.spawn(self._read_details(chosen, known), "model details")

    async def _read_details(self, chosen: Installed, known: Details | None) -> None:
        facts = chosen.manifest
        if known is None:
            found = self._details[facts.name] = await details.read(chosen)
            self.detail.show_model(chosen, found, tuple(details.adapters_of(chosen, self._models)))
        if facts.base:
            return
        try:
            vocabulary = await self._context.inference.read_tokens(facts.name, "")
        except UserError:
            return  # what is wrong with its files is said when it is used or verified
        self.detail.show_vocabulary(facts.name, vocabulary.entries, vocabulary.rows)

    # --- verbs -----------------------------------------------------------------------

    def pull(self, name: str) -> None:
        if name not in self._library.transfers:
            aio.spawn(self._guarded(self._library.fetch(name)), f"pull {name}")

    def _ask_import(self) -> None:
        aio.spawn(self._choose_import(), "import")

    async def _choose_import(self) -> None:
        dialog = QFileDialog(self._window, say("models.import_title"), str(Path.home()))
        dialog.setNameFilters([say("models.model_folders"), say("models.gguf_files")])
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        if await aio.ask(dialog) == QFileDialog.DialogCode.Accepted:
            await self._take(Path(dialog.selectedFiles()[0]))

    async def _take(self, path: Path, base: str = "") -> None:
        """Into the library; an adapter that does not say whose it is can be given its base where the error stands."""
        self._clear_notice()
        try:
            await self._library.take(path, base=base)
        except UserError as error:
            self.tell(error, *self._base_choice(path, error.code))

    def _base_choice(self, path: Path, code: str) -> list[Button]:
        bases = [model.manifest.name for model in self._models if not model.manifest.base]
        if code not in ASKS_FOR_BASE or not bases:
            return []
        button = Button(say("models.choose_base"), "secondary", small=True, trailing="down")
        button.clicked.connect(lambda: self._open_bases(button, path, bases))
        return [button]

    def _open_bases(self, button: Button, path: Path, bases: list[str]) -> None:
        menu = Menu(self)
        for name in bases:
            menu.add(name, partial(self._take_for, path, name))
        menu.popup(button.mapToGlobal(button.rect().bottomLeft()))

    async def _guarded(self, work: object) -> None:
        """A verb of the library; its error stands on the page until it is closed or the next verb begins."""
        self._clear_notice()
        try:
            await work  # type: ignore[misc]
        except UserError as error:
            self.tell(error)

    def failed(self) -> str:
        """The error that stands on the page, "" when none does."""
        return self._error

    def _take_for(self, path: Path, base: str) -> None:
        aio.spawn(self._take(path, base), "import")

    def tell(self, error: UserError, *actions: Button) -> None:
        self._clear_notice()
        self._error = str(error)
        close = IconButton("close", say("kit.close"))
        close.clicked.connect(self._clear_notice)
        self._notice.addWidget(
            Banner("bad", say("models.failed"), str(error), *actions, *why(self._window, error.code), close)
        )

    def _clear_notice(self) -> None:
        self._error = ""
        while item := self._notice.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()

    def _act(self, verb: str) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        name = chosen.manifest.name
        if verb == "chat":
            self._context.preferences.change(last_model=name)
            page = self._window.go("chat")
            page.start_with(name)  # type: ignore[union-attr]
        elif verb == "load":
            self._window.ask_load(name)
        elif verb == "verify":
            aio.spawn(self._guarded(self._verify(name)), "verify")
        elif verb == "remove":
            aio.spawn(self._guarded(self._remove(name)), "remove")

    async def _verify(self, name: str) -> None:
        await self._library.check(name)
        self._window.notify("ok", say("models.intact", name=name))

    async def _remove(self, name: str) -> None:
        if self._context.inference.state.name == name:
            await self._context.inference.unload()
        await self._library.remove(name)
        undo = lambda: aio.spawn(self._guarded(self._library.restore(name)), "restore")  # noqa: E731
        self._window.notify("info", say("models.removed", name=name), say("chat.undo"), undo)

    # --- files dropped on the page -------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        for url in event.mimeData().urls():
            if url.isLocalFile():
                aio.spawn(self._take(Path(url.toLocalFile())), "import")


def _cells(model: Installed, used: datetime | None, names: set[str]) -> list[Cell]:
    """An adapter stands beneath its base, set in; without its base it says so."""
    facts = model.manifest
    is_adapter = bool(facts.base)
    if is_adapter:
        second = say("models.adapter_of" if facts.base in names else "models.base_missing", base=facts.base)
    else:
        kind = say("models.kind_chat" if facts.can_chat else "models.kind_base")
        second = " · ".join(part for part in (kind, figures.parameters(facts.parameters), facts.licence) if part)
    return [
        Cell(facts.name, second, indent=is_adapter and facts.base in names),
        Cell("–" if is_adapter else figures.precision(facts.weights)),
        Cell(figures.size(facts.size_bytes), number=True),
        Cell(figures.count(facts.context_length) if facts.context_length else "–", number=True),
        Cell(f"{used.astimezone():%Y-%m-%d %H:%M}" if used else say("models.never")),
    ]
