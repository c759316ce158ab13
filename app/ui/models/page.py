"""The Models page: what is on this machine, what can be had, what is on its way, with the details of the chosen one.

Invariant: the three views share one notice, one pane beside them and one set of keys; each is built on its first visit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QHideEvent, QShowEvent
from PySide6.QtWidgets import QFileDialog, QStackedWidget, QWidget
from shiboken6 import isValid

from app.services import details
from app.services.details import Details
from app.services.inference import as_error
from app.services.installed import Installed, Wanted
from app.ui import aio, shortcuts
from app.ui.models.installed import STARTER, InstalledView
from app.ui.models.installed_actions import InstalledActions
from app.ui.models.installed_detail import WIDTH, InstalledDetail
from app.ui.models.naming import free_name, safe, taken_names
from app.ui.models.running_card import RunningCard
from app.ui.notice import Notice
from app.ui.pacing import Paced
from app.ui.tokens import Space
from app.ui.widgets.button import Button, IconButton
from app.ui.widgets.layout import Line, column, pane, row
from app.ui.widgets.menu import Menu
from app.ui.widgets.page import headed, page_header
from app.ui.widgets.toggle import Segmented
from core.errors import UserError
from core.protocol.messages import Failed, Finished, JobEvent
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.models.discover import DiscoverView
    from app.ui.models.downloads import DownloadsView
    from app.ui.models.offer_actions import OfferActions
    from app.ui.models.offer_detail import OfferDetail
    from app.ui.window import Window
    from core.hub.local_cache import Cached

VIEWS = ("installed", "discover", "downloads")
ASKS_FOR_BASE = ("adapter_base_unknown", "adapter_base_gone")
KEYS = {"chat_with": "chat", "load_options": "load", "verify": "verify", "remove": "remove"}
EVERY_MS = 200


class ModelsPage(QWidget):
    """
    Attributes:
        view: the one of VIEWS that is shown
        discover, downloads, offer: None before the first visit
        is_ready: the first view is whole
        cancelled: ids of downloads in the order in which they were taken out
    """

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self.view = "installed"
        self.cancelled: list[int] = []
        self.is_ready = False
        self.discover: DiscoverView | None = None
        self.downloads: DownloadsView | None = None
        self.offer: OfferDetail | None = None
        self._offers: OfferActions | None = None
        self._window, self._context, self._library = window, context, context.library
        self._details: dict[str, Details] = {}
        self._reading: asyncio.Task[None] | None = None
        self._wants_search = False
        self._cards: list[RunningCard] = []
        self.setAcceptDrops(True)
        self.actions_ = InstalledActions(window, context, self.guarded)
        self._making: dict[str, asyncio.Task[None]] = {}
        self._build()
        self._bind()
        self._wait = Paced(self, EVERY_MS, self._on_downloads)
        self._ends: list[Callable[[], None]] = [context.downloads.changed.listen(self._wait.ask)]
        self._on_downloads()
        self._beginning = aio.spawn(self._begin(), "models page")

    async def _begin(self) -> None:
        for _ in self._steps():
            await asyncio.sleep(0)
        self.is_ready = True
        self._show_pane()
        self._enter()
        if self._context.models_view and self.view == "installed":
            self.show_view(self._context.models_view)  # the page was built anew

    # --- layout --------------------------------------------------------------------

    def _steps(self) -> Iterator[None]:
        """The first view and its pane, in pieces."""
        yield
        self.detail = InstalledDetail()
        self.detail.asked.connect(self._act)
        self.detail.explain_asked.connect(self._window.explain)
        self._panes.addWidget(self.detail)
        yield
        yield from self.installed.build()

    def _build(self) -> None:
        self.choice = Segmented(say("window.models"), self._words())
        self.choice.chosen.connect(lambda index: self.show_view(VIEWS[index]))
        self.setFocusProxy(self.choice)
        self._import = Button(say("models.import"), "secondary", "folder")
        self._import.setToolTip(shortcuts.keys("models", "import_model"))
        self._import.clicked.connect(self._ask_import)
        self._toggle = IconButton("panel", say("models.details"))
        self._toggle.setCheckable(True)
        self._toggle.toggled.connect(lambda _: self._show_pane())
        self.installed = InstalledView(self._context, self._card())
        self.installed.chosen.connect(self._show_model)
        self.installed.asked.connect(self._act)
        self.installed.menu_asked.connect(lambda model, where: self.actions_.open_menu(self, model, where))
        self.installed.starter_asked.connect(self.pull_starter)
        self.installed.import_asked.connect(self._ask_import)
        self.installed.discover_asked.connect(lambda: self.show_view("discover"))
        self.installed.found.asked.connect(self._take_over)
        self.installed.listed.connect(self._on_listed)
        self._stack, self._panes = QStackedWidget(), QStackedWidget()
        self._stack.addWidget(self.installed)
        self._panes.setFixedWidth(WIDTH)
        self._panes.hide()
        self._notice = Notice(self._window, say("models.failed"), (0, 0, 0, Space.M))
        body = column(self._notice, self._stack, gap=0)
        body.setStretch(1, 1)
        body.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
        self._line = Line(vertical=True)
        middle = row(pane(body), self._line, self._panes, gap=0)
        middle.setStretch(0, 1)
        header = page_header(say("window.models"), self.choice, None, self._import, self._toggle)
        self.setLayout(headed(header, pane(middle)))

    def _card(self) -> RunningCard:
        card = RunningCard(self._context)
        card.setParent(self)  # or it would be a window of its own, should it have something to show before its place
        card.paused.connect(lambda id_: self.act_on_download("pause_or_go_on", id_))
        card.cancelled.connect(lambda id_: self.act_on_download("cancel", id_))
        card.stopped.connect(self._library.cancel)
        card.all_asked.connect(lambda: self.show_view("downloads"))
        self._cards.append(card)
        return card

    def _words(self) -> list[str]:
        """The number under way stands beside Downloads."""
        count = sum(item.state in ("running", "waiting") for item in self._context.downloads.items)
        words = [say(f"models.view_{view}") for view in VIEWS]
        return [*words[:2], say("models.view_downloads_count", count=count) if count else words[2]]

    def _bind(self) -> None:
        for action, verb in KEYS.items():
            shortcuts.bind(self, "models", action, partial(self._by_key, verb))
        shortcuts.bind(self, "models", "pull", self.pull_starter)
        shortcuts.bind(self, "models", "import_model", self._ask_import)
        shortcuts.bind(self, "models", "find_model", self._find)
        shortcuts.bind(self, "models", "undo_cancel", self._undo_cancel)
        shortcuts.bind(self, "models", "details", self._toggle.toggle)

    # --- life ------------------------------------------------------------------------

    def adapt(self, wide: bool) -> None:
        self._toggle.setChecked(wide)
        self._show_pane()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._enter()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._rest()

    def leave(self) -> None:
        self._context.models_view = self.view
        for end in self._ends:
            end()
        self._wait.stop()
        for task in (self._beginning, *self._making.values()):
            task.cancel()
        for card in self._cards:
            card.leave()
        self.installed.leave()
        for part in (self.discover, self.downloads, self._offers):
            if part is not None:
                part.leave()
        if self._reading is not None:
            self._reading.cancel()

    def show_view(self, name: str) -> None:
        """One of VIEWS, built on its first visit."""
        if name != self.view:
            self._rest()
            self.view = name
            self._make(name)
            self._enter()
        self._stack.setCurrentWidget(self._shown() or self.installed)
        self.choice.choose(VIEWS.index(name))
        self._import.setVisible(name == "installed")
        self._show_pane()

    def _make(self, name: str) -> None:
        if name == "discover" and self.discover is None:
            self._make_discover()
        elif name == "downloads" and self.downloads is None:
            from app.ui.models.downloads import DownloadsView

            self.downloads = DownloadsView(self._context.downloads)
            self.downloads.asked.connect(self.act_on_download)
            self.downloads.discover_asked.connect(lambda: self.show_view("discover"))
            self.downloads.cleared.connect(lambda: aio.spawn(self._context.downloads.clear(), "clear downloads"))
            self._stack.addWidget(self.downloads)

    def _make_discover(self) -> None:
        from app.ui.models.discover import DiscoverView
        from app.ui.models.offer_actions import OfferActions
        from app.ui.models.offer_detail import OfferDetail

        self.discover = DiscoverView(self._window, self._context, self._card())
        self.offer = OfferDetail()
        self._offers = OfferActions(self._window, self._context, self.offer, self.guarded)
        self._offers.learnt = self.discover.refresh_badges
        self._offers.chat = self.actions_.chat_with
        self._offers.see_downloads = lambda: self.show_view("downloads")
        self.discover.offer_chosen.connect(self._offers.show)
        self.discover.opened.connect(self._open_offer)
        self._stack.addWidget(self.discover)
        self._panes.addWidget(self.offer)
        self._making["discover"] = aio.spawn(self._fill_discover(), "discover")

    async def _fill_discover(self) -> None:
        assert self.discover is not None and self.offer is not None and self._offers is not None
        for _ in chain(self.offer.build(), self.discover.build()):
            await asyncio.sleep(0)
        self.discover.show_installed(self.installed.models)
        self._offers.show_models(self.installed.models)
        if self.view == "discover":
            self._enter()
            if self._wants_search:
                self.discover.focus_search()

    def _shown(self) -> InstalledView | DiscoverView | DownloadsView | None:
        views = {"installed": self.installed, "discover": self.discover, "downloads": self.downloads}
        return views[self.view]

    def _enter(self) -> None:
        if (shown := self._shown()) is not None and self.isVisible():
            shown.enter()
        if self.view == "downloads":
            self.installed.refresh()  # which of those that are done are still here

    def _rest(self) -> None:
        if (shown := self._shown()) is not None:
            shown.rest()

    # --- the pane beside ---------------------------------------------------------------

    def _show_pane(self) -> None:
        has_pane = self.view == "discover" or (self.view == "installed" and self.installed.model() is not None)
        shown = has_pane and self._toggle.isChecked()
        self._toggle.setVisible(self.view != "downloads")
        self._panes.setVisible(shown)
        self._line.setVisible(shown)
        if self.view == "discover" and self.offer is not None:
            self._panes.setCurrentWidget(self.offer)
        elif self.view == "installed" and self.is_ready:
            self._panes.setCurrentWidget(self.detail)
            self._fill_detail()

    def _open_offer(self) -> None:
        """Enter on a row: its details, where they are not beside it."""
        if not self._toggle.isChecked():
            self._toggle.setChecked(True)
        elif self.offer is not None and self.offer.is_ready:
            self.offer.go.setFocus(Qt.FocusReason.TabFocusReason)

    def _show_model(self) -> None:
        if self.view == "installed":
            self._show_pane()

    def _fill_detail(self) -> None:
        """What the library knows at once, what stands in the model's files as soon as it has been read."""
        chosen = self.installed.model()
        if chosen is None or not self._panes.isVisibleTo(self):
            return
        self._show_detail(chosen)
        if self._reading is not None:
            self._reading.cancel()
        self._reading = aio.spawn(self._read_details(chosen), "model details")

    def _show_detail(self, chosen: Installed) -> None:
        name, models = chosen.manifest.name, self.installed.models
        hint = self.installed.memory_hint(name)
        found = self._details.get(name) or Details()
        self.detail.show_model(chosen, found, tuple(details.adapters_of(chosen, models)), hint)

    async def _read_details(self, chosen: Installed) -> None:
        facts = chosen.manifest
        if facts.name not in self._details:
            self._details[facts.name] = await details.read(chosen)
            self._show_detail(chosen)
        if facts.base:
            return
        try:
            vocabulary = await self._context.inference.read_tokens(facts.name, "")
        except UserError:
            return  # what is wrong with its files is said when it is used or verified
        self.detail.show_vocabulary(facts.name, vocabulary.entries, vocabulary.rows)

    def _on_listed(self) -> None:
        names = {model.manifest.name for model in self.installed.models}
        self._details = {name: found for name, found in self._details.items() if name in names}
        if self.downloads is not None:
            self.downloads.show_installed(names)
        if self.discover is not None and self._offers is not None and self.discover.is_ready:
            self.discover.show_installed(self.installed.models)
            self._offers.show_models(self.installed.models)

    # --- verbs on what is here -----------------------------------------------------------

    def _act(self, verb: str) -> None:
        chosen = self.installed.model()
        if chosen is not None:
            self.actions_.act(verb, chosen)

    def _by_key(self, verb: str) -> None:
        """The keys mean the row in view: of Discover, its button."""
        if self.view == "installed":
            self._act(verb)
        elif self.view == "discover" and verb == "chat" and self.offer is not None and self.offer.is_ready:
            self.offer.go.click()

    def _find(self) -> None:
        """The search field of Discover."""
        self._wants_search = True
        self.show_view("discover")
        if self.discover is not None and self.discover.is_ready:
            self.discover.focus_search()

    def pull_starter(self) -> None:
        if STARTER not in self._library.transfers:
            aio.spawn(self.guarded(self._pull_starter()), "pull starter")

    async def _pull_starter(self) -> None:
        await self._context.downloads.add(Wanted(STARTER))

    # --- import ----------------------------------------------------------------------------

    def _ask_import(self) -> None:
        aio.spawn(self._choose_import(), "import")

    async def _choose_import(self) -> None:
        dialog = QFileDialog(self._window, say("models.import_title"), str(Path.home()))
        dialog.setNameFilters([say("models.model_folders"), say("models.gguf_files")])
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        if await aio.ask(dialog) == QFileDialog.DialogCode.Accepted:
            await self.take(Path(dialog.selectedFiles()[0]))

    async def take(self, path: Path, base: str = "") -> None:
        """Into the library; an adapter that does not say whose it is can be given its base where the error stands."""
        self._notice.clear()
        try:
            await self._library.take(path, base=base)
        except UserError as error:
            self.tell(error, *self._base_choice(path, error.code))

    def _base_choice(self, path: Path, code: str) -> list[Button]:
        bases = [model.manifest.name for model in self.installed.models if not model.manifest.base]
        if code not in ASKS_FOR_BASE or not bases:
            return []
        button = Button(say("models.choose_base"), "secondary", small=True, trailing="down")
        button.clicked.connect(lambda: self._open_bases(button, path, bases))
        return [button]

    def _open_bases(self, button: Button, path: Path, bases: list[str]) -> None:
        menu = Menu(self)
        for name in bases:
            menu.add(name, lambda name=name: aio.spawn(self.take(path, name), "import"))  # type: ignore[misc]
        menu.popup(button.mapToGlobal(button.rect().bottomLeft()))

    def _take_over(self, found: Cached) -> None:
        aio.spawn(self._take_cached(found), "take over")

    async def _take_cached(self, found: Cached) -> None:
        await self.guarded(self._adopt(found))
        if isValid(self):
            self.installed.look_again(found)

    async def _adopt(self, found: Cached) -> None:
        """Under a free name where another model has its own.

        Raises:
            UserError: as of an import.
        """
        owner, _, wished = found.source.id.rpartition("/")
        name = free_name(wished, owner, taken_names(self._context, await self._library.installed()))
        end: JobEvent | None = None
        async for event in self._library.take_over(found, name=name):
            end = event
        if isinstance(end, Failed):
            raise as_error(end)
        if name != safe(wished) and isinstance(end, Finished) and end.reason != "cancelled":
            self._window.notify("ok", say("models.taken_as", name=name))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        for url in event.mimeData().urls():
            if url.isLocalFile():
                aio.spawn(self.take(Path(url.toLocalFile())), "import")

    # --- downloads -------------------------------------------------------------------------

    def _on_downloads(self) -> None:
        self.choice.set_words(self._words())
        if self._offers is not None and self.discover is not None and self.discover.is_ready:
            self._offers.show_state()

    def act_on_download(self, action: str, download_id: int) -> None:
        from app.ui.models.download_actions import act

        aio.spawn(self.guarded(act(self._window, self._context, action, download_id, self)), action)

    def _undo_cancel(self) -> None:
        from app.ui.models.download_actions import undo_cancel

        if self.view == "downloads":
            aio.spawn(self.guarded(undo_cancel(self._context, self.cancelled)), "undo cancel")

    # --- what went wrong -------------------------------------------------------------------

    async def guarded(self, work: Awaitable[None]) -> None:
        """Do it; its error stands on the page until it is closed or the next verb begins."""
        await self._notice.guarded(work)

    def failed(self) -> str:
        """The error that stands on the page, "" when none does."""
        return self._notice.words

    def tell(self, error: UserError, *actions: Button) -> None:
        self._notice.tell(error, *actions)
