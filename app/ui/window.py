"""The window: rail, pages built on first visit, status bar, toasts. Composes pages and knows no job.

Invariant: it paints before any service exists; `attach` brings the pages to life. A change of language or text size
builds the pages anew, and what the user was doing (page, conversation, draft) is still there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QSettings, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QGuiApplication, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QApplication, QStackedWidget, QVBoxLayout, QWidget

from app.services.preferences import Preferences
from app.ui import aio, shortcuts, theme
from app.ui.status_bar import StatusBar
from app.ui.tokens import Size
from app.ui.widgets.badge import Tone
from app.ui.widgets.focus import holds_focus
from app.ui.widgets.layout import Line, pane, row
from app.ui.widgets.nav_rail import NavRail
from app.ui.widgets.toast import Toast
from core import paths
from core.errors import UserError
from core.settings import Settings
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.models.news import DownloadNews
    from app.ui.profiler.news import ProfilingNews
    from app.ui.server.news import ServerNews
    from app.ui.training_run.news import TrainingNews

PAGES = ("chat", "models", "finetune", "profiler", "server", "tokenizer", "help", "settings")
AT_FOOT = 2  # of the rail
FRAME = QSize(16, 48)  # room for the borders and the title that the desktop puts around the first window


class Page(Protocol):
    """What the window asks of a page beyond being a widget."""

    def adapt(self, wide: bool) -> None:
        """Side panes stand beside the page when the window is wide, else they give way."""

    def leave(self) -> None:
        """The page is about to be thrown away: stop listening, keep what the user typed."""


class Window(QWidget):
    """
    Signals:
        painted: the first frame is on the screen
    """

    painted = Signal()

    def __init__(self, app: QApplication, preferences: Preferences) -> None:
        super().__init__()
        self.preferences = preferences
        self.context: AppContext | None = None
        self._app = app
        self._painted = asyncio.Event()
        self._closed = asyncio.Event()
        self._place = "chat"
        self._asking_load = False
        self._downloads: DownloadNews | None = None
        self._runs: TrainingNews | None = None
        self._tables: ProfilingNews | None = None
        self._server: ServerNews | None = None
        self._pages: dict[str, QWidget] = {}
        self.setWindowTitle("Qwen Workbench")
        self.setProperty("ground", "surface")
        self.setMinimumSize(1000, 640)
        self._whole = QVBoxLayout(self)
        self._whole.setContentsMargins(0, 0, 0, 0)
        self._whole.setSpacing(0)
        self._build()
        self._bind()
        self._restore_geometry()
        preferences.changed.listen(self._on_preferences)
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._on_system_theme)

    # --- life --------------------------------------------------------------------

    def attach(self, context: AppContext) -> None:
        """The services are there: fill the status bar and show the page."""
        self.context = context
        from app.ui.models.news import DownloadNews
        from app.ui.profiler.news import ProfilingNews
        from app.ui.server.news import ServerNews
        from app.ui.training_run.news import TrainingNews

        self.status.attach(context)
        self._downloads = DownloadNews(self, context, PAGES.index("models"))
        self._runs = TrainingNews(self, context, self.show_run, PAGES.index("finetune"))
        self._tables = ProfilingNews(self, context, self.show_table, PAGES.index("profiler"))
        self._server = ServerNews(self, context, PAGES.index("server"))
        self.go(self._place)

    async def until_painted(self) -> None:
        await self._painted.wait()

    async def until_closed(self) -> None:
        await self._closed.wait()

    def come_forward(self) -> None:
        """A second start asks for this window."""
        self.setWindowState((self.windowState() & ~Qt.WindowState.WindowMinimized) | Qt.WindowState.WindowActive)
        self.raise_()
        self.activateWindow()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if not self._painted.is_set():
            self._painted.set()
            QTimer.singleShot(0, self.painted.emit)  # when the frame is out, not in the midst of it

    def closeEvent(self, event: QCloseEvent) -> None:
        """Only says so; what must be saved is saved by who awaits `until_closed`."""
        self._leave()
        self._geometry_file().setValue("geometry", self.saveGeometry())
        self._closed.set()
        event.accept()

    # --- pages -------------------------------------------------------------------

    def go(self, place: str) -> QWidget | None:
        """Show a page, building it on its first visit. None while there are no services yet."""
        self._place = place
        self.rail.select(PAGES.index(place))
        if self.context is None:
            return None
        if place not in self._pages:
            self._pages[place] = _make(place, self, self.context)
            self._stack.addWidget(self._pages[place])
        page = self._pages[place]
        self._stack.setCurrentWidget(page)
        for toast in self.findChildren(Toast):
            toast.raise_()
        self._adapt()
        if not holds_focus(page):
            page.setFocus(Qt.FocusReason.OtherFocusReason)  # which its focus proxy takes, where it has one
        return page

    def ask_load(self, model: str = "", *, see_loaded: bool = False) -> None:
        """The load options of a model; without a name, of the one in memory or chosen last. `see_loaded` opens on what
        is in memory."""
        if self.context is not None and not self._asking_load:
            self._asking_load = True
            aio.spawn(self._ask_load(self.context, model, see_loaded), "load options")

    async def _ask_load(self, context: AppContext, model: str, see_loaded: bool) -> None:
        try:
            name = model or context.inference.state.name or self.preferences.settings.last_model
            name = name and context.library.files_of(name).base
        except UserError:
            name = ""
        if not name:
            self._asking_load = False
            self.go("models")
            return
        from app.ui.load.dialog import LoadDialog

        dialog = LoadDialog(self, context, name, see_loaded=see_loaded)
        filling = aio.spawn(dialog.fill(), "fill load options")
        try:
            await aio.ask(dialog)
        finally:
            self._asking_load = False
            filling.cancel()

    def ask_remote(self) -> None:
        """The other machines whose models answer here."""
        from app.ui.remote.dialog import RemoteDialog

        if self.context is not None and self.findChild(RemoteDialog) is None:
            aio.spawn(aio.ask(RemoteDialog(self, self.context)), "other machines")

    def explain(self, question: str) -> None:
        """The answer to one of the questions of the help page."""
        page = self.go("help")
        if page is not None:
            page.show_question(question)  # type: ignore[attr-defined]

    def _find_help(self) -> None:
        if (page := self.go("help")) is not None:
            page.setFocus(Qt.FocusReason.ShortcutFocusReason)  # into its search, from anywhere on it too

    def _open_part(self, place: str) -> None:
        """What a part of the status bar stands for: a page, or a view of one."""
        if place == "downloads":
            page = self.go("models")
            if page is not None:
                page.show_view("downloads")  # type: ignore[attr-defined]
        else:
            self.go(place)

    def show_run(self, id: str) -> None:
        """The page of a fine-tune."""
        if (page := self.go("finetune")) is not None:
            page.show_run(id)  # type: ignore[attr-defined]

    def show_table(self, id: int) -> None:
        """A table that was measured, on the page of the profiler."""
        if (page := self.go("profiler")) is not None:
            page.show_run(id)  # type: ignore[attr-defined]

    def notify(
        self,
        tone: Tone,
        words: str,
        action: str = "",
        do: Callable[[], object] | None = None,
        page: QWidget | None = None,
    ) -> None:
        """A short message where it hides nothing; a newer one takes the place of an older one. `page`: what it is said
        of, so that it goes when that goes out of view."""
        for old in self.findChildren(Toast):
            old.dismiss()
        Toast(self, tone, words, action, do, page).present()

    def _leave(self) -> None:
        """Nothing of the pages listens any more."""
        for page in self._pages.values():
            _as_page(page).leave()
        self.status.leave()
        for news in (self._downloads, self._runs, self._tables, self._server):
            if news is not None:
                news.leave()

    def rebuild(self) -> None:
        """Every page anew, in the language and text size now in force."""
        self._leave()
        self._pages.clear()
        while item := self._whole.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        self._build()
        if self.context is not None:
            self.attach(self.context)

    def _build(self) -> None:
        names = [(name, say(f"window.{name}")) for name in PAGES]
        self.rail = NavRail(names, bottom=AT_FOOT)
        self.rail.chosen.connect(lambda index: self.go(PAGES[index]))
        self.rail.select(PAGES.index(self._place))
        self._stack = QStackedWidget()
        self.status = StatusBar(self)
        self.status.asked.connect(self._open_part)
        self.status.run_asked.connect(self.show_run)
        self.status.load_asked.connect(lambda: self.ask_load())
        upper = row(self.rail, Line(vertical=True), self._stack, gap=0)
        upper.setStretch(2, 1)
        self._whole.addWidget(pane(upper), 1)
        self._whole.addWidget(Line())
        self._whole.addWidget(self.status)

    def _bind(self) -> None:
        for place in PAGES:
            shortcuts.bind(self, "window", f"page_{place}", partial(self.go, place))
        shortcuts.bind(self, "window", "help", self._find_help)
        shortcuts.bind(self, "window", "shortcuts", self.show_shortcuts)
        shortcuts.bind(self, "window", "quit", self.close)

    def show_shortcuts(self) -> None:
        aio.spawn(aio.ask(shortcuts.ShortcutSheet(self)), "shortcuts")

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._adapt()

    def _adapt(self) -> None:
        page = self._pages.get(self._place)
        if page is not None:
            _as_page(page).adapt(self.width() >= Size.INSPECTOR_FROM)

    # --- settings ------------------------------------------------------------------

    def _on_preferences(self, settings: Settings) -> None:
        from app.ui.start import apply_look

        before = (say("window.chat"), theme.state.text_scale)
        apply_look(self._app, settings)
        if before != (say("window.chat"), theme.state.text_scale):
            self.rebuild()

    def _on_system_theme(self) -> None:
        if self.preferences.settings.theme == "system":
            theme.apply(self._app, "system", theme.state.text_scale)

    def _restore_geometry(self) -> None:
        kept = self._geometry_file().value("geometry")
        if kept is None or not self.restoreGeometry(kept):
            room = self.screen().availableGeometry()
            self.resize(min(1440, room.width() - FRAME.width()), min(900, room.height() - FRAME.height()))

    def _geometry_file(self) -> QSettings:
        return QSettings(str(paths.home() / "window.ini"), QSettings.Format.IniFormat)


def _as_page(widget: QWidget) -> Page:
    return widget  # type: ignore[return-value]  # every page of _make is one


def _make(place: str, window: Window, context: AppContext) -> QWidget:
    """Pages are imported when they are first shown."""
    if place == "chat":
        from app.ui.chat.panel import ChatPanel

        return ChatPanel(window, context)
    if place == "models":
        from app.ui.models.page import ModelsPage

        return ModelsPage(window, context)
    if place == "finetune":
        from app.ui.finetune.page import FinetunePage

        return FinetunePage(window, context)
    if place == "profiler":
        from app.ui.profiler.page import ProfilerPage

        return ProfilerPage(window, context)
    if place == "server":
        from app.ui.server.page import ServerPage

        return ServerPage(window, context)
    if place == "tokenizer":
        from app.ui.tokenizer.page import TokenizerPage

        return TokenizerPage(window, context)
    if place == "help":
        from app.ui.help_page import HelpPage

        return HelpPage(window, context)
    from app.ui.settings.page import SettingsPage

    return SettingsPage(window, context)
