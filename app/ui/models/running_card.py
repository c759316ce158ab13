"""What is on its way, in short, above the tables: the first of the queue and what the library is at besides.

Invariant: hidden while nothing is under way; an update changes words and bars, never heights, and comes at most ten
times a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.services.downloads import Item
from app.services.transfers import Transfer
from app.ui.models.download_words import share, short_words, source_words, transfer_words
from app.ui.pacing import Paced
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, Line, column, pane, row
from app.ui.widgets.progress import ProgressRow
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext

MOST = 2
EVERY_MS = 100
TICK_MS = 1000
SHOWN = ("running", "paused", "waiting", "failed")  # in this order


@dataclass(frozen=True, slots=True)
class _Job:
    """A line: a row of the queue, or a job that the library does for another reason."""

    key: str
    name: str
    item: Item | None
    transfer: Transfer | None


class RunningCard(QWidget):
    """
    Signals:
        paused: id of a download that shall pause, or go on
        cancelled: id of a download
        stopped: the name of a model whose job in the library shall end
        all_asked: the whole queue
    """

    paused = Signal(int)
    cancelled = Signal(int)
    stopped = Signal(str)
    all_asked = Signal()

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self._context = context
        self._lines = column(gap=0)
        self._rows: dict[str, ProgressRow] = {}
        self._more = Button("", "ghost", small=True, trailing="right")
        self._more.clicked.connect(self.all_asked)
        foot = row(self._more, None, gap=0)
        foot.setContentsMargins(Space.S, 0, Space.S, Space.XS)
        self._foot = pane(foot)
        body = column(self._lines, self._foot, gap=0)
        whole = column(Card(body, padding=0), gap=0)
        whole.setContentsMargins(0, 0, 0, Space.M)
        self.setLayout(whole)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._wait = Paced(self, EVERY_MS, self._show)
        self._tick = QTimer(self, interval=TICK_MS)  # for those that wait, of which nothing is told
        self._tick.timeout.connect(self._wait.ask)
        self._ends: list[Callable[[], None]] = [
            context.downloads.changed.listen(self._wait.ask),
            context.library.changed.listen(self._wait.ask),
            context.library.progressed.listen(self._wait.ask),
        ]
        self.hide()  # shown once it has its place: a widget without one would be a window
        self._wait.ask()

    def leave(self) -> None:
        for end in self._ends:
            end()
        self._wait.stop()
        self._tick.stop()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._tick.start()
        self._show()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._tick.stop()

    def _show(self) -> None:
        jobs = self._jobs()
        self.setVisible(bool(jobs))
        shown = jobs[:MOST]
        if [job.key for job in shown] != list(self._rows):
            self._rebuild(shown)
        for job in shown:
            self._fill(self._rows[job.key], job)
        rest = len(jobs) - len(shown)
        self._foot.setVisible(rest > 0)
        words = say("downloads.more", count=rest)
        if rest > 0 and words != self._more.text():
            self._more.setText(words)
            self._more.setAccessibleName(words)
            self._more.updateGeometry()

    def _jobs(self) -> list[_Job]:
        open_ = [item for item in self._context.downloads.items if item.state in SHOWN]
        open_.sort(key=lambda item: SHOWN.index(item.state))
        names = {item.record.name for item in open_}
        transfers = self._context.library.transfers
        others = [_Job(f"job {name}", name, None, one) for name, one in transfers.items() if name not in names]
        return [*others, *(_Job(f"download {item.id}", item.record.name, item, None) for item in open_)]

    def _rebuild(self, jobs: list[_Job]) -> None:
        while item := self._lines.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        self._rows = {}
        for place, job in enumerate(jobs):
            if place:
                self._lines.addWidget(Line())
            line = self._rows[job.key] = self._row(job)
            self._lines.addWidget(line)

    def _row(self, job: _Job) -> ProgressRow:
        if job.item is None:
            line = ProgressRow(job.name)
            line.cancelled.connect(partial(self.stopped.emit, job.name))
            return line
        line = ProgressRow(job.name, source_words(job.item), can_pause=True)
        line.halted.connect(partial(self.paused.emit, job.item.id))
        line.cancelled.connect(partial(self.cancelled.emit, job.item.id))
        return line

    def _fill(self, line: ProgressRow, job: _Job) -> None:
        if job.item is not None:
            line.show_progress(share(job.item), short_words(job.item))
            line.show_paused(job.item.state != "running" and job.item.again_at is None and job.item.state != "waiting")
        elif job.transfer is not None:
            line.show_progress(job.transfer.share, transfer_words(job.transfer))
