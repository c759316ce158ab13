"""The load dialog: how a model shall be loaded, what that takes of the memory, and what came of it.

Invariant: a choice moves the memory bar at once and is kept only by a button; what is kept is in force the next time
the model is needed. Nothing here waits: files are read and the model is loaded elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QDialog, QStackedWidget, QWidget
from shiboken6 import isValid

from app.services import fitting, machine
from app.services.fitting import Room, Subject
from app.services.inference import ModelState
from app.ui import aio
from app.ui.load.choices import Choices
from app.ui.load.memory import MemoryPane
from app.ui.load.result import LoadedFacts, family_words
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Banner, Skeleton
from app.ui.widgets.layout import Elided, Line, Scroll, column, pane, row
from app.ui.widgets.progress import ProgressRow
from app.ui.widgets.toggle import Segmented
from core import figures
from core.errors import UserError
from core.load_options import DEFAULT, LoadOptions
from core.protocol.messages import ModelLoaded, Progress
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext

WIDTH, HEIGHT = 720, 690
MEMORY_MS = 2000


class LoadDialog(QDialog):
    """Made empty and at once; `fill()` brings it to life piece by piece."""

    def __init__(self, parent: QWidget, context: AppContext, model: str, *, see_loaded: bool = False) -> None:
        super().__init__(parent)
        self._see_loaded = see_loaded
        self.model = model
        self.subject: Subject | None = None
        self.free = Room(0)
        self.is_ready = False
        self._context = context
        self._loading: asyncio.Task[None] | None = None
        self._giving_up: asyncio.Task[None] | None = None
        self._end: Callable[[], None] = lambda: None
        self.setWindowTitle(say("load.title", name=model))
        self.setModal(True)
        self._lay_out()
        room = parent.window().size()
        self.resize(min(WIDTH, room.width() - 40), min(HEIGHT, room.height() - 40))
        self._watch = QTimer(self, interval=MEMORY_MS)
        self._watch.timeout.connect(lambda: aio.spawn(self._watch_memory(), "free memory"))
        self.finished.connect(self._leave)

    # --- layout --------------------------------------------------------------------

    def _lay_out(self) -> None:
        self._facts = Elided("", "caption", "muted")
        self.view = Segmented(say("load.view"), [say("load.view_options"), say("load.view_loaded")])
        self.view.chosen.connect(self._show_view)
        self.view.hide()
        words = column(Elided(say("load.title", name=self.model), "heading"), self._facts, gap=Space.XXS)
        head = row(words, self.view, gap=Space.M)
        head.setStretch(0, 1)
        head.setContentsMargins(Space.XL, Space.L, Space.XL, Space.M)
        self._notice = column(gap=0)
        self._notice.setContentsMargins(Space.XL, 0, Space.XL, 0)
        self._stack = QStackedWidget()
        self._stack.addWidget(_padded(column(Skeleton(8), None)))
        self._below = column(gap=0)
        self._foot = row(gap=Space.S)
        self._foot.setContentsMargins(Space.XL, Space.M, Space.XL, Space.L)
        whole = column(head, Line(), self._notice, self._stack, self._below, Line(), self._foot, gap=0)
        whole.setStretch(3, 1)
        self.setLayout(whole)

    def _steps(self) -> Iterator[None]:
        """The parts, a few at a time."""
        self.choices = Choices()
        self._options_page = Scroll(_padded(column(self.choices)), say("load.options"))
        self._stack.addWidget(self._options_page)
        self._stack.setCurrentWidget(self._options_page)  # what is added to a page in view is dressed a piece at a time
        yield
        yield from self.choices.build()
        self.loaded_facts = LoadedFacts()
        self._loaded_page = Scroll(_padded(column(self.loaded_facts)), say("load.view_loaded"))
        self._stack.addWidget(self._loaded_page)
        yield
        self.memory = MemoryPane()
        self.memory.smaller_asked.connect(self.choices.put)
        frame = column(self.memory)
        frame.setContentsMargins(Space.XL, Space.S, Space.XL, Space.S)
        self._memory_page = pane(column(Line(), frame, gap=0))
        self._below.addWidget(self._memory_page)
        yield
        self._buttons()

    def _buttons(self) -> None:
        self.defaults = Button(say("load.defaults"), "ghost")
        self.close_ = Button(say("kit.close"), "secondary")
        self.keep = Button(say("load.keep"), "secondary")
        self.load = Button(say("load.now"), "primary")
        self.defaults.clicked.connect(lambda: self.choices.put(DEFAULT))
        self.close_.clicked.connect(self.reject)
        self.keep.clicked.connect(self._keep_and_close)
        self.load.clicked.connect(self.load_now)
        self.progress = ProgressRow(say("load.loading", name=self.model), margin=0)
        self.progress.cancelled.connect(self._stop_loading)
        self.progress.hide()
        self._foot.addWidget(self.progress, 1)
        for part in (self.defaults, None, self.close_, self.keep, self.load):
            self._foot.addStretch(0) if part is None else self._foot.addWidget(part)

    async def fill(self) -> None:
        """Read the model's headers and the free memory, and show the options."""
        for _ in self._steps():
            await asyncio.sleep(0)
        try:
            found = self._context.library.find(self.model)
            has_gguf = bool(found.manifest.gguf)
            self.subject = await fitting.look(self.model, found.files_folder, has_gguf=has_gguf)
        except UserError as error:
            self._fail(error)
            return
        await self._measure()
        self._facts.setText(_facts_of(self.subject))
        options = self._context.preferences.load_options(self.model)
        speeds = await asyncio.to_thread(self._context.form_trial.known)
        self.choices.show_options(self.subject, options, has_card=bool(self.free.card), speeds=speeds)
        self.choices.changed.connect(self._on_changed)
        await asyncio.sleep(0)
        self._on_changed(self.choices.options)
        await self._show_loaded(self._loaded_now())
        self._end = self._context.inference.changed.listen(self._on_model)
        self._on_model(self._context.inference.state)
        self._watch.start()
        self.is_ready = True
        if self._see_loaded and not self.view.isHidden():
            self.view.choose(1)

    @property
    def is_loading(self) -> bool:
        return self._loading is not None

    def _loaded_now(self) -> ModelLoaded | None:
        state = self._context.inference.state
        return state.loaded if state.phase == "ready" and state.name == self.model else None

    async def _measure(self) -> None:
        reading = await machine.read()
        self.free = fitting.room(reading, self._context.inference.state.loaded)

    async def _watch_memory(self) -> None:
        """Other programs move: the bar follows while nothing is being loaded."""
        if self._loading is None:
            await self._measure()
            if isValid(self) and self._loading is None:
                self._on_changed(self.choices.options)

    # --- choosing --------------------------------------------------------------------

    def _on_changed(self, options: LoadOptions) -> None:
        if self.subject is not None:
            self.memory.show_fit(self.subject, options, self.free)
            self.defaults.setEnabled(options != DEFAULT)

    def _show_view(self, index: int) -> None:
        self._stack.setCurrentWidget(self._loaded_page if index else self._options_page)
        self._memory_page.setVisible(not index)
        for button in (self.defaults, self.keep, self.load):
            button.setVisible(not index)

    def _keep(self) -> None:
        self._context.preferences.choose_load_options(self.model, self.choices.options)

    def _keep_and_close(self) -> None:
        self._keep()
        self.accept()

    # --- loading ---------------------------------------------------------------------

    def load_now(self) -> None:
        """With the options in view, which are kept."""
        if self._loading is None:
            self._keep()
            self._loading = aio.spawn(self._load(), "load model")

    async def _load(self) -> None:
        self._giving_up = None
        self._clear_notice()
        self._show_running(True)
        try:
            loaded = await self._context.inference.load(self.model)
        except UserError as error:
            if ending := self._ending():
                await asyncio.wait([ending])  # or the next loading would meet a process that is about to end
            elif isValid(self):
                self._fail(error)
        else:
            if isValid(self):
                await self._show_loaded(loaded)
                self.view.choose(1)
        finally:
            self._loading = None
            if isValid(self):
                self._show_running(False)

    def _stop_loading(self) -> None:
        """The process that loads is ended: nothing else gives its memory back at once."""
        if self._giving_up is None:
            self._giving_up = aio.spawn(self._context.inference.unload(), "stop loading")

    def _ending(self) -> asyncio.Task[None] | None:
        """The end of the model process, where the user asked for it while it was loading."""
        return self._giving_up

    def _show_running(self, running: bool) -> None:
        if running:
            self.view.choose(0)
            self.progress.show_progress(None, say("load.waiting"))
        for part in (self.choices, self.memory.change, self.view):
            part.setEnabled(not running)
        if not running:
            self.progress.hide()
        for button in (self.defaults, self.keep, self.load):
            button.setVisible(not running and self.view.current == 0)
        if running:  # in the buttons' place, never beside them: the dialog would grow
            self.progress.show()

    def _on_model(self, state: ModelState) -> None:
        if self._loading is not None and state.progress is not None and state.name == self.model:
            self.progress.show_progress(*_progress_words(state.progress))

    async def _show_loaded(self, loaded: ModelLoaded | None) -> None:
        self.view.setVisible(loaded is not None)
        if loaded is not None:
            for _ in self.loaded_facts.build(loaded):
                await asyncio.sleep(0)

    def _fail(self, error: UserError) -> None:
        self._clear_notice()
        self._notice.setContentsMargins(Space.XL, Space.M, Space.XL, 0)
        self._notice.addWidget(Banner("bad", say("load.failed"), str(error)))

    def failure(self) -> str:
        """What stands in the banner, "" when there is none."""
        item = self._notice.itemAt(0)
        banner = item.widget() if item else None
        return banner.accessibleDescription() if banner else ""

    def _clear_notice(self) -> None:
        self._notice.setContentsMargins(Space.XL, 0, Space.XL, 0)
        while item := self._notice.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Ctrl+Enter is the primary button, wherever the focus is."""
        is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if is_enter and event.modifiers() & Qt.KeyboardModifier.ControlModifier and self.is_ready:
            self.load.click()
        elif not is_enter:  # a stray Enter closes nothing
            super().keyPressEvent(event)

    def _leave(self) -> None:
        """Closed: what is loading goes on; the status bar shows it."""
        self._end()
        self._watch.stop()


def _padded(layout: object) -> QWidget:
    layout.setContentsMargins(Space.XL, Space.L, Space.XL, Space.L)  # type: ignore[attr-defined]
    return pane(layout)  # type: ignore[arg-type]


def _facts_of(subject: Subject) -> str:
    shape = subject.shape
    stored = f"Int{shape.quantised.bits}" if shape.quantised else figures.precision(shape.stored)
    words = (family_words(subject.family), say("load.parameters", count=figures.parameters(shape.parameters)), stored)
    return " · ".join(word for word in words if word)


def _progress_words(progress: Progress) -> tuple[float | None, str]:
    stage = say(f"progress.{progress.stage}") if progress.stage else say("load.waiting")
    if not progress.total:
        return None, stage
    share = progress.done / progress.total
    if progress.unit == "bytes":
        amount = say("models.of", done=figures.size(progress.done), total=figures.size(progress.total))
        return share, f"{stage}  ·  {amount}"
    return share, f"{stage}  ·  {share:.0%}"
