"""Step two: the data. Choose or drop it, see what is in it and what is wrong with it, and mend it.

Invariant: it shows the draft's file and the report on it, whichever of the three is there: none yet, a check that
runs, an error, the findings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from app.services.finetune_draft import Told
from app.ui import aio
from app.ui.finetune.columns import ColumnsForm
from app.ui.finetune.data_facts import DataFacts
from app.ui.finetune.mending import MendDialog
from app.ui.finetune.problems import Problems
from app.ui.finetune.row_view import RowView
from app.ui.finetune.step import Step, emptied
from app.ui.tokens import Space
from app.ui.why import why
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Banner, EmptyState, Glyph
from app.ui.widgets.layout import Card, Elided, column, pane, row
from app.ui.widgets.progress import ProgressRow
from core.data.report import DataReport
from core.errors import UserError
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

ASKS_COLUMNS = ("unknown", "pairs", "alpaca")


class DataStep(Step):
    """
    Signals:
        file_asked: choose a file
    """

    NAME = "data"
    file_asked = Signal()

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__(window, context)
        self._working: asyncio.Task[None] | None = None
        self._filling: asyncio.Task[None] | None = None

    def build(self) -> Iterator[None]:
        self.empty = self._empty()
        self.lines.addWidget(self.empty, 1)
        yield
        self.file = self._file_card()
        self.progress = ProgressRow(say("finetune_ui.checking"))
        self.progress.cancelled.connect(self._stop)
        self._progress_card = Card(column(self.progress), padding=0)
        self._notice = column(gap=0)
        self._above = pane(self._notice)
        for part in (self.file, self._progress_card, self._above):
            self.lines.addWidget(part)
        yield
        self.xray = RowView(self.draft)
        yield
        self.columns = ColumnsForm()
        self.columns.chosen.connect(self.draft.choose_columns)
        yield
        self.problems = Problems()
        self.problems.mend_asked.connect(self.ask_mend)
        self.problems.row_asked.connect(self._look_at)
        yield
        self.facts = DataFacts()
        left = column(self.columns, self.xray, self.problems, None, gap=Space.XL)
        body = row(left, self.facts, gap=Space.XL)
        body.setStretch(0, 1)
        body.setAlignment(self.facts, Qt.AlignmentFlag.AlignTop)
        self.findings = pane(body)
        self.lines.addWidget(self.findings)
        self.lines.addStretch(0)

    def _empty(self) -> EmptyState:
        choose = Button(say("finetune_ui.choose_file"), "primary", "file")
        choose.clicked.connect(self.file_asked)
        chats = Button(say("finetune_ui.from_chats"), "secondary", "chat")
        chats.clicked.connect(self.ask_chats)
        return EmptyState("file", say("finetune_ui.drop"), say("finetune_ui.drop_means"), choose, chats)

    def _file_card(self) -> QWidget:
        self.name = Elided("", "strong")
        self.format = Elided("", "caption", "muted")
        self.change = Button(say("finetune_ui.change"), "secondary", small=True)
        self.change.clicked.connect(self.file_asked)
        self.chats = Button(say("finetune_ui.from_chats"), "ghost", "chat", small=True)
        self.chats.clicked.connect(self.ask_chats)
        self.again = Button(say("finetune_ui.check_again"), "ghost", "refresh", small=True)
        self.again.clicked.connect(self.draft.check)
        words = column(self.name, self.format, gap=Space.XXS)
        line = row(Glyph("file", "accent"), words, self.again, self.chats, self.change, gap=Space.M)
        line.setStretch(1, 1)
        return Card(line, padding=Space.M)

    # --- what is shown -----------------------------------------------------------------

    def enter(self) -> None:
        if self.draft.recipe.data and not self.draft.is_checking and (self.draft.is_stale or not self._is_known()):
            self.draft.check()
        self._show()

    def leave(self) -> None:
        if self.is_built:
            self.xray.leave()
        for task in (self._working, self._filling):
            if task is not None:
                task.cancel()

    def _is_known(self) -> bool:
        return self.draft.report is not None or self.draft.error is not None

    def show_draft(self, told: Told) -> None:
        if told in ("recipe", "model") and self.draft.is_stale and not self.draft.is_checking:
            self.draft.check()
        if told in ("data", "checking", "models"):
            self._show()

    def _show(self) -> None:
        draft = self.draft
        has_file = bool(draft.recipe.data)
        self.empty.setVisible(not has_file)
        self.file.setVisible(has_file)
        self.name.setText(Path(draft.recipe.data).name)
        self.name.hint = draft.recipe.data
        self.again.setVisible(not draft.is_checking and has_file)
        self._progress_card.setVisible(draft.is_checking and draft.report is None)
        if (progress := draft.progress) is not None:
            share = progress.done / progress.total if progress.total else None
            stage = say(f"progress.{progress.stage}") if progress.stage else ""
            self.progress.show_progress(share, f"{stage}  ·  {share:.0%}" if share is not None else stage)
        if draft.is_checking and draft.report is not None:
            return  # what is in view stays until the new findings are there
        self._show_error(draft.error)
        self.findings.setVisible(draft.report is not None)
        if draft.report is not None:
            if self._filling is not None:
                self._filling.cancel()
            self._filling = aio.spawn(self._fill(draft.report), "findings")
        elif has_file and not draft.is_checking:
            self.format.setText("")

    async def _fill(self, report: DataReport) -> None:
        for _ in self._show_report(report):
            await asyncio.sleep(0)

    def _show_report(self, report: DataReport) -> Iterator[None]:
        """In pieces, so that no frame waits for all of them."""
        kind = say("finetune_ui.format", format=say(f"data.format_{report.format}"), kind=report.kind.upper())
        self.format.setText(kind)
        self.columns.setVisible(report.format in ASKS_COLUMNS or bool(self.draft.recipe.columns))
        self.columns.show_report(report)
        is_enough = report.columns.is_enough
        self.xray.setVisible(is_enough)
        self.problems.setVisible(is_enough and bool(report.counts))  # else every row would be one
        yield
        self.facts.show_report(report)
        yield
        if is_enough:
            self.xray.refresh()
            yield from self.problems.show_report(report)

    def _show_error(self, error: UserError | None) -> None:
        emptied(self._notice)
        self._above.setVisible(error is not None)
        if error is not None:
            banner = Banner("bad", say("finetune_ui.unreadable"), str(error), *why(self.window_, error.code))
            self._notice.addWidget(banner)

    def failed(self) -> str:
        """The error that stands below the file, "" when none does."""
        item = self._notice.itemAt(0)
        banner = item.widget() if item else None
        return banner.accessibleDescription() if banner else ""

    def _stop(self) -> None:
        self.draft.stop_check()
        self.draft.error = UserError("data_check_stopped")
        self._show()

    def _look_at(self, number: int) -> None:
        self.xray.go(number)
        self.view.ensureWidgetVisible(self.xray, 0, Space.L)

    # --- verbs -----------------------------------------------------------------------------

    def ask_mend(self, fix: list[str], drop: list[str]) -> None:
        self._do(self._mend(fix, drop))

    async def _mend(self, fix: list[str], drop: list[str]) -> None:
        dialog = MendDialog(self.window_, self.draft.mended_name(), [*fix, *drop])
        if not await aio.ask(dialog):
            return
        done = await self.draft.mend(dialog.target, fix, drop)
        counts = {"kept": done.kept, "rows": done.rows, "changed": done.changed}
        self.window_.notify("ok", say("finetune.mended", file=Path(done.path).name, **counts), page=self)

    def ask_chats(self) -> None:
        self._do(self._take_chats())

    async def _take_chats(self) -> None:
        from app.ui.finetune.chats import ChatsDialog

        dialog = ChatsDialog(self.window_, self.context)
        filling = aio.spawn(dialog.fill(), "conversations")
        try:
            accepted = await aio.ask(dialog)
        finally:
            filling.cancel()
        if accepted:
            target = dialog.target()
            await self.context.datasets.chats_as_data(dialog.chosen(), target)
            self.draft.choose_data(target)

    def _do(self, work: object) -> None:
        self._working = aio.spawn(self._guarded(work), "training data")

    async def _guarded(self, work: object) -> None:
        try:
            await work  # type: ignore[misc]
        except UserError as error:
            self._show_error(error)
