"""The foot of the window: memory, loaded model, the server, running job, slowest frame. Each part opens its page.

Invariant: one quiet line of fixed height; a number that is not known is not shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QWidget
from shiboken6 import isValid

from app.services import machine
from app.services.inference import ModelState
from app.services.serving import ServerState
from app.services.training import Run
from app.ui import aio, theme
from app.ui.frames import FrameWatch
from app.ui.model_words import device_words, weights_words
from app.ui.pacing import Paced
from app.ui.tokens import Radius, Size, Space
from app.ui.widgets.button import Pressable
from app.ui.widgets.feedback import Glyph
from app.ui.widgets.layout import Elided, label, row
from app.ui.widgets.painting import begin, box, focus_ring
from app.ui.widgets.progress import Bar
from core import figures
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext

SAMPLE_MS, JOB_MS = 2000, 200
SERVER_PX = 170
JOB_PX = 230  # a long name is cut rather than pushing others away


class Part(Pressable):
    """A group of words and a bar that opens a page when it is clicked."""

    def __init__(self, name: str, *items: QWidget) -> None:
        super().__init__(name)
        self.setToolTip(name)
        line = row(*items, gap=Space.S)
        line.setContentsMargins(Space.S, 0, Space.S, 0)
        for item in items:
            item.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setLayout(line)
        self.setFixedHeight(Size.STATUS - 4)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)  # what can be cut gives way

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = begin(self)
        if veil := self.veil():
            box(painter, QRectF(self.rect()), Radius.M, veil)
        if self.ring:
            focus_ring(painter, QRectF(self.rect()), Radius.M)


class StatusBar(QWidget):
    """
    Signals:
        asked: the page that a part stands for
        run_asked: the id of the fine-tune that is running
        load_asked: how the model is loaded
    """

    asked = Signal(str)
    run_asked = Signal(str)
    load_asked = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._context: AppContext | None = None
        self._run = ""
        self._is_profiling = False
        self._ends: list[Callable[[], None]] = []
        self.frames = FrameWatch(self)
        self._job_wait = Paced(self, JOB_MS, self._show_job)
        self._timer = QTimer(self, interval=SAMPLE_MS)
        self._timer.timeout.connect(self._sample)
        self.setProperty("ground", "canvas")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(Size.STATUS)
        self._memory_name = label("", "caption", "soft")
        self._memory_bar = Bar(say("status.memory"), 0.0, "neutral", height=4)
        self._memory_words = label("", "caption", "muted")
        self._model = label(say("status.no_model"), "caption", "muted")
        self._job = Elided("", "caption", "soft")
        self._job.setMaximumWidth(round(JOB_PX * theme.state.text_scale))
        self._job_bar = Bar(say("status.job"), 0.0, height=4)
        self._job_left = label("", "caption", "muted")
        self._slowest = label("", "caption", "muted")
        self._server = Elided("", "caption", "soft")
        self._server.setMaximumWidth(round(SERVER_PX * theme.state.text_scale))
        self._memory_part = self._part("status.memory_hint", "settings", self._memory_items())
        self._model_part = self._part("status.model_hint", "", [self._model])
        self._server_part = self._part("status.server_hint", "server", [Glyph("server", "ok", 14), self._server])
        self._job_part = Part(say("status.job_hint"), self._job, self._job_bar, self._job_left)
        self._job_part.clicked.connect(self._open_job)
        self._frame_part = self._part("status.frame_hint", "settings", [self._slowest])
        self._lay_out()

    def _memory_items(self) -> list[QWidget]:
        for bar in (self._memory_bar, self._job_bar):
            bar.setFixedWidth(84)
        return [Glyph("chip", "neutral", 14), self._memory_name, self._memory_bar, self._memory_words]

    def _part(self, hint: str, page: str, items: list[QWidget]) -> Part:
        part = Part(say(hint), *items)
        part.clicked.connect(lambda: self.asked.emit(page) if page else self.load_asked.emit())
        return part

    def _lay_out(self) -> None:
        for words in (self._memory_words, self._job, self._job_left, self._slowest):
            words.setFont(theme.font(tabular=True))
        self._memory_part.hide()
        self._job_part.hide()
        self._server_part.hide()
        self._frame_part.hide()
        line: QHBoxLayout = row(
            self._memory_part, self._model_part, self._server_part, None, self._job_part, self._frame_part, gap=Space.S
        )
        line.setContentsMargins(Space.S, 0, Space.S, 0)
        self.setLayout(line)

    def attach(self, context: AppContext) -> None:
        """The services are there: show what they say from now on."""
        self._context = context
        self._ends = [
            context.inference.changed.listen(self._on_model),
            context.library.changed.listen(lambda _: self._show_job()),
            context.library.progressed.listen(self._job_wait.ask),
            context.downloads.changed.listen(self._job_wait.ask),
            context.training.changed.listen(self._job_wait.ask),
            context.profiling.changed.listen(self._job_wait.ask),
            context.serving.changed.listen(self._on_server),
        ]
        self._on_server(context.serving.state)
        self._on_model(context.inference.state)
        self._show_job()
        self._timer.start()
        self._sample()

    def leave(self) -> None:
        """The bar is about to be thrown away: stop listening and looking."""
        for end in self._ends:
            end()
        self._timer.stop()
        self._job_wait.stop()

    def _sample(self) -> None:
        if self.window().isVisible():
            aio.spawn(self._read(), "memory")
            slowest = self.frames.slowest_ms()
            self._slowest.setText(say("status.frame", ms=round(slowest)))
            self._frame_part.setVisible(slowest >= 1)

    async def _read(self) -> None:
        reading = await machine.read()
        if not isValid(self):  # the window was rebuilt or closed meanwhile
            return
        memory = reading.card.memory if reading.card else reading.memory
        self._memory_name.setText(reading.card.name if reading.card else say("status.memory"))
        self._memory_bar.set_share(memory.used / memory.total)
        words = say("status.memory_value", used=figures.size(memory.used), total=figures.size(memory.total))
        self._memory_words.setText(words)
        self._memory_part.setAccessibleDescription(words)
        self._memory_part.show()

    def _on_model(self, state: ModelState) -> None:
        self._model.setText(_model_words(state))
        self._model_part.setAccessibleDescription(self._model.text())

    def _on_server(self, state: ServerState) -> None:
        from app.ui.server.words import short

        words = short(state)
        if words != self._server.text():
            self._server.setText(words)
            self._server.updateGeometry()
            self._server_part.setAccessibleDescription(words)
        self._server_part.setVisible(bool(words))

    def _show_job(self) -> None:
        from app.ui.models.download_words import left_words, share

        assert self._context is not None
        running = [item for item in self._context.downloads.items if item.state == "running"]
        transfers = self._context.library.transfers
        trained = next((run for run in self._context.training.runs if run.status.is_alive), None)
        profiling = self._context.profiling.state
        self._run = trained.id if trained is not None else ""
        self._is_profiling = trained is None and profiling.run is not None
        self._job_part.setVisible(bool(running or transfers or trained or profiling.run))
        hint = "run_ui.status_hint" if trained is not None else "status.job_hint"
        self._job_part.setToolTip(say("profile_ui.status_hint" if self._is_profiling else hint))
        if profiling.run is not None and trained is None:
            from app.ui.profiler.strip import share as done_share

            words = say("profile_ui.status", name=profiling.run.name)
            left = say("profile_ui.left", time=figures.duration(profiling.left_s)) if profiling.left_s else ""
            self._show_words(words, done_share(profiling), left)
        elif trained is not None:
            self._show_words(say("run_ui.status", name=trained.name), *_how_far(trained))
        elif running:
            first, more = running[0], len(running) - 1
            key = "status.fetching_more" if more else "status.fetching"
            self._show_words(say(key, name=first.record.name, count=more), share(first), left_words(first))
        elif transfers:
            transfer = next(iter(transfers.values()))
            self._show_words(say("status.working", name=transfer.name), transfer.share, "")

    def _open_job(self) -> None:
        if self._run:
            self.run_asked.emit(self._run)
        elif self._is_profiling:
            self.asked.emit("profiler")
        else:
            self.asked.emit("downloads")

    def _show_words(self, job: str, done: float | None, left: str) -> None:
        self._job.setText(job)
        self._job_bar.set_share(done or 0.0)
        self._job_left.setText(left)
        self._job_left.setVisible(bool(left))
        self._job_part.setAccessibleDescription(", ".join(word for word in (job, left) if word))


def _how_far(run: Run) -> tuple[float, str]:
    from app.ui.training_run.words import left_words, share

    return share(run), left_words(run)


def _model_words(state: ModelState) -> str:
    if state.phase == "none":
        return say("status.no_model")
    if not state.is_responsive:
        return say("status.not_responding", name=state.name)
    if state.phase == "ready" and state.loaded:
        name = say("chat.with_adapter", base=state.name, adapter=state.adapter) if state.adapter else state.name
        place = device_words(state.loaded.device)
        return say("status.loaded", name=name, precision=weights_words(state.loaded), device=place)
    progress = state.progress
    if progress and progress.total:
        return say("status.loading_share", name=state.name, share=f"{progress.done / progress.total:.0%}")
    return say("status.loading", name=state.name)
