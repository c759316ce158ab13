"""A new table: the form, what it would come to cell by cell, and the one button that starts it.

Invariant: what is said of cells, time and memory is of the plan that would be started, never of an older one: while it
is worked out anew the button waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QBoxLayout, QWidget
from shiboken6 import isValid

from app.services.profiling_ahead import Foreseen
from app.ui import aio, shortcuts, theme
from app.ui.pacing import Paced
from app.ui.profiler.form import ProfileForm
from app.ui.profiler.words import case_words, form_words, model_words
from app.ui.tokens import Size, Space
from app.ui.widgets.badge import Badge
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, Line, Scroll, column, label, pane, row
from app.ui.widgets.page import section
from app.ui.widgets.table import Cell, Rows, Table
from core import figures
from core.errors import UserError
from core.profiling.machine import runs_on_card
from core.profiling.plan import ProfilePlan
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext

EVERY_MS = 200
COLUMNS = (("cell", 0), ("needs", 92), ("fit", 104))
TALLEST = 620


class NewView(QWidget):
    """
    Signals:
        start_asked: a ProfilePlan

    Attributes:
        plan: what would be started; None while it is no table, or not known yet
        foreseen: its cells
    """

    start_asked = Signal(object)

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.plan: ProfilePlan | None = None
        self.foreseen: list[Foreseen] = []
        self._context, self._profiling = context, context.profiling
        self._looking: asyncio.Task[None] | None = None
        self._entering: asyncio.Task[None] | None = None
        self._on_card: bool | None = None
        self._is_busy = False
        self._error = ""
        self._starts_next = False  # as soon as it is known what it would come to
        self.form = ProfileForm(context.profiling_wish)
        self.form.changed.connect(self._ask)
        self.form.checked.connect(lambda: self._show_start(self._error))
        self._parts = self.form.build()
        self._wait = Paced(self, EVERY_MS, self._look)
        self._build()

    def leave(self) -> None:
        self._wait.stop()
        for task in (self._looking, self._entering):
            if task is not None:
                task.cancel()

    def _build(self) -> None:
        self.form.setMaximumWidth(Size.FORM)
        header = [say(f"profile_ui.foreseen_{name}") for name, _ in COLUMNS]
        self._rows = Rows(header, [])
        self.table = Table(say("profile_ui.foreseen"), self._rows, [width for _, width in COLUMNS], tall=True)
        self.table.clicked.connect(lambda index: self._explain(index.row()))
        self.table.selectionModel().currentRowChanged.connect(lambda now, _: self._explain(now.row()))
        self.reason = label("", "caption", "warn", wrap=True)
        self.reason.hide()
        cells = section(say("profile_ui.foreseen"), "", column(self.reason, Card(column(self.table), padding=1)))
        side = column(cells, None, gap=0)
        self._halves = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._halves.setSpacing(Space.XL)
        self._halves.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
        self._halves.addWidget(pane(column(self.form, None, gap=0)), 3)
        self._side = pane(side)
        self._halves.addWidget(self._side, 2)
        whole = column(Scroll(pane(self._halves)), Line(), self._foot(), gap=0)
        whole.setStretch(0, 1)
        self.setLayout(whole)

    def _foot(self) -> QWidget:
        self.count = label("", "strong")
        self.time = label("", "body", "soft")
        self.lost = Badge("", "warn", "dot")
        self.lost.hide()
        self.why = label("", "caption", "muted", wrap=True)
        for one in (self.count, self.time):
            one.setFont(theme.font(tabular=True))
        self.start = Button(say("profile_ui.start"), "primary", "play")
        self.start.setToolTip(shortcuts.keys("profiler", "start_profile"))
        self.start.clicked.connect(self.go)
        line = row(self.count, self.time, self.lost, self.why, self.start, gap=Space.M)
        line.setStretch(3, 1)
        line.setContentsMargins(Space.XL, Space.M, Space.XL, Space.M)
        return pane(line)

    def adapt(self, wide: bool) -> None:
        """Beside the form where there is room, else below it."""
        right, below = QBoxLayout.Direction.LeftToRight, QBoxLayout.Direction.TopToBottom
        self._halves.setDirection(right if wide else below)
        self.form.setMaximumWidth(Size.FORM if wide else 16_777_215)

    # --- looking ahead ----------------------------------------------------------------------

    def enter(self) -> None:
        """Seen again: models and memory may be others."""
        if self._entering is not None:
            self._entering.cancel()
        self._entering = aio.spawn(self._enter(), "new profile")

    async def _enter(self) -> None:
        for _ in self._parts:
            await asyncio.sleep(0)
        if self._on_card is None:
            self._on_card = await asyncio.to_thread(runs_on_card)
        installed = await self._context.library.installed()
        if isValid(self):
            names = [one.manifest.name for one in installed if not one.manifest.base]
            self.form.show_wish(names, self._on_card)
            self._ask()

    def show_busy(self, busy: bool) -> None:
        """Another table is being measured: this one has to wait."""
        if busy != self._is_busy:
            self._is_busy = busy
            self._show_start(self._error)

    def _ask(self) -> None:
        self.plan, self._error, self._starts_next = None, "", False
        self._show_start()
        self._wait.ask()

    def _look(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._looking = aio.spawn(self._foresee(), "foresee")

    async def _foresee(self) -> None:
        error = ""
        try:
            plan = self.form.wish.plan(self._profiling.subject)
            found = await self._profiling.foresee(plan)
            seconds = await self._profiling.expect(found)
        except UserError as wrong:
            plan, found, seconds, error = None, [], None, str(wrong)
        if isValid(self):
            self.plan, self.foreseen, self._error = plan, found, error
            self._show(seconds, error)
            if self._starts_next:
                self._starts_next = False
                self.go()

    def _show(self, seconds: float | None, error: str) -> None:
        has_models = len({one.cell.subject.name for one in self.foreseen}) > 1
        self._rows.replace([_row(one, has_models=has_models) for one in self.foreseen])
        tall = self.table.verticalHeader().defaultSectionSize() * len(self.foreseen) + 44
        self.table.setFixedHeight(min(TALLEST, tall))
        self._side.setVisible(bool(self.foreseen))
        self.reason.hide()
        lost = [one for one in self.foreseen if one.obstacle]
        if lost:
            self._explain(self.foreseen.index(lost[0]))
        self.count.setText(say("profile_ui.cells_count", count=len(self.foreseen)) if self.foreseen else "")
        known = say("profile_ui.takes", time=figures.duration(seconds)) if seconds else say("profile_ui.takes_unknown")
        self.time.setText(known if self.foreseen else "")
        self.lost.setVisible(bool(lost))
        self.lost.show_state(say("profile_ui.will_not_run", count=len(lost)), "warn", "dot")
        self._show_start(error)

    def _show_start(self, error: str = "") -> None:
        runs = [one for one in self.foreseen if not one.obstacle]
        if self._is_busy:
            reason = say("profile_ui.busy")
        elif self.form.wrong() is not None:
            reason = say("profile_ui.field_wrong")
        elif error:
            reason = error
        elif self.plan is None:
            reason = say("profile_ui.looking")
        else:
            reason = "" if runs else say("profile_ui.nothing_fits")
        self.why.setText(reason)
        self.start.setEnabled(not reason)
        self.start.setAccessibleDescription(reason)

    def _explain(self, place: int) -> None:
        """Why a cell would not be run."""
        words = self.foreseen[place].obstacle if 0 <= place < len(self.foreseen) else ""
        self.reason.setText(words)
        self.reason.setVisible(bool(words))

    def go(self) -> None:
        """The table as it stands in the form: what is typed and was not left yet is read first."""
        was_known = self.plan is not None
        self.form.check()
        if (field := self.form.wrong()) is not None:
            field.edit.setFocus()
        elif self.start.isEnabled() and self.plan is not None:
            self.start_asked.emit(self.plan)
        else:
            self._starts_next = was_known and self.plan is None


def _row(one: Foreseen, *, has_models: bool) -> list[Cell]:
    name = f"{model_words(one.cell)} · {form_words(one.cell)}" if has_models else form_words(one.cell)
    size = figures.size(one.estimate.total) if one.estimate is not None else ""
    fit = Cell("", badge=say("profile_ui.not_run_short"), tone="warn", mark="dot", hint=one.obstacle)
    if not one.obstacle:
        fit = Cell("", badge=say("profile_ui.fits"), tone="ok", mark="dot")
    return [Cell(name, second=case_words(one.cell)), Cell(size, number=True), fit]
