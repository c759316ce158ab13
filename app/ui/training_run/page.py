"""The page of one fine-tune: how it stands, its figures as they come, its answers, what came of it, what went wrong.

Invariant: it shows what the service tells and owns nothing of a run; whatever comes faster than anybody reads is shown
at most every EVERY_MS, and nothing is built or read for longer than a frame.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QTimer, Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.services.training import Run
from app.ui import aio
from app.ui.notice import Notice
from app.ui.pacing import Paced
from app.ui.tokens import Space
from app.ui.training_run.actions import RunActions
from app.ui.training_run.body import RunBody
from app.ui.training_run.head import RunHead
from app.ui.training_run.reading import Reading
from app.ui.widgets.layout import Scroll, column, pane, settle_layouts
from core.errors import UserError
from core.training.recipe import Recipe
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

EVERY_MS = 200
READ_MS = 1000  # between two readings of the answers
LOOK_MS = 2000  # between two looks whether a run gives signs of life


class RunPage(QWidget):
    """
    Signals:
        closed: back to the list; also when the run was removed
        again: the wizard shall open with this recipe
        merge_asked, export_asked: the name of a result in the library

    Attributes:
        id: of the run in view, "" before there is one
        body: everything below the head; None while it is built
        is_read: all of it is in view
    """

    closed = Signal()
    again = Signal(Recipe)
    merge_asked = Signal(str)
    export_asked = Signal(str)

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self.id = ""
        self.body: RunBody | None = None
        self.is_read = False
        self._window, self._context, self._training = window, context, context.training
        self._was_alive = False
        self._building: asyncio.Task[None] | None = None
        self.actions_ = RunActions(window, context, self.guarded, lambda run: self.again.emit(run.recipe))
        self.head = RunHead()
        self.head.asked.connect(self._act)
        self.head.back_asked.connect(self.closed)
        self.head.menu_asked.connect(self._open_menu)
        self._notice = Notice(self._window, say("run_ui.failed"), (Space.XL, Space.M, Space.XL, 0))
        self._place: QVBoxLayout = column(gap=0)
        whole = column(self.head, self._notice, self._place, gap=0)
        whole.setStretch(2, 1)
        self.setLayout(whole)
        self._wait = Paced(self, EVERY_MS, self._show)
        self._reading = Paced(self, READ_MS, self._read)
        self._look = QTimer(self, interval=LOOK_MS)
        self._look.timeout.connect(self._look_after)
        self._ends: list[Callable[[], None]] = [
            self._training.changed.listen(self._on_changed),
            self._training.saved.listen(self._on_saved),
            self._training.ended.listen(self._on_ended),
        ]

    # --- life ------------------------------------------------------------------------

    @property
    def run(self) -> Run | None:
        """As it stands; None where there is none any more."""
        try:
            return self._training.run(self.id)
        except UserError:
            return None

    def adapt(self, wide: bool) -> None:
        """Nothing stands beside the page."""

    def leave(self) -> None:
        for end in self._ends:
            end()
        for timer in (self._wait, self._reading, self._look):
            timer.stop()
        self._drop_body()

    def show_run(self, id: str) -> None:
        """Raises UserError when there is none."""
        run = self._training.run(id)
        if id == self.id:
            self._show()
            return
        self.id, self._was_alive = id, run.status.is_alive
        self._notice.clear()
        self._drop_body()
        self.head.show_run(run)
        self._building = aio.spawn(self._build(run), "page of a run")
        self._look.start()

    def _drop_body(self) -> None:
        if self._building is not None:
            self._building.cancel()
        if self.body is not None:
            self.body.leave()
        self.body, self.is_read = None, False
        while item := self._place.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()

    async def _build(self, run: Run) -> None:
        body = RunBody(self._window, self._context, self.actions_, self.guarded)
        frame = pane(column(body, None, gap=0))
        scroll = Scroll(frame, say("run_ui.page"))
        self._place.addWidget(scroll)
        reading = Reading(scroll)
        try:
            await asyncio.to_thread(importlib.import_module, "app.ui.widgets.chart.plot")  # most of a second, once
            for _ in body.build(run):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            body.leave()
            raise
        body.again_asked.connect(self.again)
        body.merge_asked.connect(self.merge_asked)
        body.export_asked.connect(self.export_asked)
        body.failed.connect(self.tell)
        self.body = body
        self._show()
        await body.first_read()
        settle_layouts()
        reading.end()
        self.is_read = True

    # --- what the service tells -----------------------------------------------------------

    def _on_changed(self, id: str) -> None:
        if id in ("", self.id) and self.id:
            self._wait.ask()

    def _on_saved(self, id: str) -> None:
        if id == self.id:
            self._reading.ask()

    def _on_ended(self, run: Run) -> None:
        if run.id == self.id and self.body is not None and self.body.charts is not None:
            self.body.charts.feed.reload()

    def _read(self) -> None:
        if self.body is not None:
            self.body.read()

    def _show(self) -> None:
        run = self.run
        if run is None:
            self.id = ""
            self._look.stop()
            self._drop_body()
            self.closed.emit()
            return
        self.head.show_run(run)
        if self.body is not None:
            if run.status.is_alive != self._was_alive:
                self._was_alive = run.status.is_alive
                self.body.turn(run)
            self.body.show_run(run)

    def _look_after(self) -> None:
        run = self.run
        if run is not None and run.status.is_alive and self.isVisible():
            aio.spawn(self._training.check(run.id), "signs of life")

    def _open_menu(self, where: QPoint) -> None:
        if (run := self.run) is not None:
            self.actions_.open_menu(self, run, where)

    def _act(self, verb: str) -> None:
        if (run := self.run) is not None:
            self.actions_.act(verb, run)

    # --- what went wrong -------------------------------------------------------------------

    async def guarded(self, work: Awaitable[None]) -> None:
        """Do it; its error stands on the page until it is closed or the next verb begins."""
        await self._notice.guarded(work)

    def failure(self) -> str:
        """The error that stands on the page, "" when none does."""
        return self._notice.words

    def tell(self, error: UserError) -> None:
        self._notice.tell(error)
