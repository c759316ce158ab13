"""The Fine-tune page: the list of runs, one run, or the wizard for a new one.

Invariant: exactly one of the three is in view; a file dropped anywhere on the page becomes the data of a new run, and
what was begun in the wizard waits in the context until it is started or thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFileDialog, QStackedWidget, QWidget

from app.ui import aio, shortcuts
from app.ui.finetune.leaving import Leaving
from app.ui.finetune.runs import RunsView
from app.ui.notice import Notice
from app.ui.pacing import Paced
from app.ui.tokens import Size, Space
from app.ui.training_run.actions import RunActions
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Line, column, label, pane, row
from core.errors import UserError
from core.training.recipe import Recipe
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.finetune.wizard import Wizard
    from app.ui.training_run.page import RunPage
    from app.ui.window import Window

ENDINGS = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
EVERY_MS = 200


class FinetunePage(QWidget):
    """
    Attributes:
        view: "runs", "run" or "wizard", the one that is shown
        run_page: there as soon as it is_open
        is_open: the runs of this machine are known
        wizard: None before the first new run
    """

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self.view = "runs"
        self.is_open = False
        self.run_page: RunPage
        self.wizard: Wizard | None = None
        self._window, self._context = window, context
        self.setAcceptDrops(True)
        self._leaving = Leaving(window, context)
        self.actions_ = RunActions(window, context, self.guarded, lambda run: self.again(run.recipe))
        self._build()
        self._bind()
        self._wait = Paced(self, EVERY_MS, self._show)
        self._ends: list[Callable[[], None]] = [context.training.changed.listen(self._wait.ask)]
        self._opening = aio.spawn(self._open(), "finetune page")

    async def _open(self) -> None:
        await asyncio.sleep(0)
        self._build_run()
        await self._context.training.open()
        self.is_open = True
        self._show()
        kept = self._context.finetune_view
        if kept == "wizard":
            self.show_wizard()
        elif kept:
            self.show_run(kept)

    # --- layout ------------------------------------------------------------------------

    def _build(self) -> None:
        self.runs = RunsView()
        self.runs.opened.connect(self.show_run)
        self.runs.new_asked.connect(self.new)
        self.runs.data_asked.connect(self.ask_file)
        self.runs.draft_asked.connect(lambda: self.show_wizard())
        self.runs.menu_asked.connect(
            lambda id, where: self.actions_.open_menu(self, self._context.training.run(id), where)
        )
        self._heads, self._stack = QStackedWidget(), QStackedWidget()
        self._heads.setFixedHeight(Size.PAGE_HEADER)
        self._views: dict[str, tuple[QWidget, QWidget]] = {}
        self._add("runs", self._runs_head(), self._padded(self.runs))
        self._notice = Notice(self._window, say("models.failed"), (Space.XL, Space.M, Space.XL, 0))
        self._above = pane(column(self._heads, Line(), gap=0))
        whole = column(self._above, self._notice, self._stack, gap=0)
        whole.setStretch(2, 1)
        self.setLayout(whole)
        self.setFocusProxy(self.new_button)

    def _add(self, view: str, head: QWidget, body: QWidget) -> None:
        self._views[view] = head, body
        self._heads.addWidget(head)
        self._stack.addWidget(body)

    def _build_run(self) -> None:
        from app.ui.training_run.page import RunPage

        self.run_page = RunPage(self._window, self._context)
        self.run_page.closed.connect(self.show_runs)
        self.run_page.again.connect(self.again)
        self.run_page.merge_asked.connect(self._leaving.merge)
        self.run_page.export_asked.connect(self._leaving.export)
        self._add("run", QWidget(), self.run_page)

    def _padded(self, widget: QWidget) -> QWidget:
        body = column(widget, gap=0)
        body.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
        return pane(body)

    def _runs_head(self) -> QWidget:
        self.new_button = Button(say("finetune_ui.new"), "primary", "plus")
        self.new_button.setToolTip(shortcuts.keys("finetune", "new_run"))
        self.new_button.clicked.connect(self.new)
        line = row(label(say("window.finetune"), "title"), None, self.new_button, gap=Space.M)
        line.setContentsMargins(Space.XL, 0, Space.XL, 0)
        return pane(line)

    def _bind(self) -> None:
        shortcuts.bind(self, "finetune", "new_run", self.new)
        shortcuts.bind(self, "finetune", "open_data", self.ask_file)
        shortcuts.bind(self, "finetune", "go_on", self._go_on)
        shortcuts.bind(self, "finetune", "go_back", self._go_back)

    # --- life ------------------------------------------------------------------------------

    def adapt(self, wide: bool) -> None:
        """Nothing stands beside the page."""

    def leave(self) -> None:
        shown = self.run_page.run if self.is_open else None
        self._context.finetune_view = (
            "wizard" if self.view == "wizard" else shown.id if self.view == "run" and shown else ""
        )
        for end in self._ends:
            end()
        self._wait.stop()
        self._opening.cancel()
        if self.is_open:
            self.run_page.leave()
        if self.wizard is not None:
            self.wizard.leave()

    # --- views -------------------------------------------------------------------------------

    def _show(self) -> None:
        if not self.is_open:
            return
        runs = self._context.training.runs
        self.runs.show_runs(runs)
        self._show_draft()
        self.new_button.setVisible(bool(runs) or self.view != "runs")

    def _show_draft(self) -> None:
        draft = self._context.finetune_draft
        parts = (draft.recipe.model, Path(draft.recipe.data).name, say(f"finetune_ui.step_{draft.step}"))
        self.runs.show_draft(" · ".join(part for part in parts if part) if draft.is_begun else "")

    def _turn(self, view: str) -> None:
        self.view = view
        head, body = self._views[view]
        self._heads.setCurrentWidget(head)
        self._stack.setCurrentWidget(body)
        self._above.setVisible(view != "run")  # which has a head of its own
        self._notice.clear()

    def show_runs(self) -> None:
        self._turn("runs")
        self._show()
        self.runs.focus_list()

    def show_run(self, id: str) -> None:
        try:
            self.run_page.show_run(id)
        except UserError:
            return
        self.runs.choose(id)
        self._turn("run")

    def new(self) -> None:
        """The wizard, where it was left; once a run was started it begins anew."""
        self.show_wizard()

    def show_wizard(self, step: str = "") -> None:
        if self.wizard is None:
            from app.ui.finetune.wizard import Wizard

            self.wizard = Wizard(self._window, self._context)
            self.wizard.left.connect(self.show_runs)
            self.wizard.started.connect(self.show_run)
            self.wizard.file_asked.connect(self.ask_file)
            self._add("wizard", self.wizard.head, self.wizard)
        self._turn("wizard")
        self.wizard.enter(step)

    def _go_on(self) -> None:
        if self.view == "wizard" and self.wizard is not None:
            self.wizard.go_on()

    def _go_back(self) -> None:
        if self.view == "wizard" and self.wizard is not None:
            self.wizard.go_back()
        else:
            self.show_runs()

    def again(self, recipe: Recipe) -> None:
        """A new run by the recipe of another, which can be changed first."""
        self._context.finetune_draft.take(recipe)
        self.show_wizard("settings")

    # --- data from outside ---------------------------------------------------------------------

    def ask_file(self) -> None:
        aio.spawn(self._choose_file(), "choose data")

    async def _choose_file(self) -> None:
        dialog = QFileDialog(self._window, say("finetune_ui.choose_file"), str(Path.home()))
        endings = " ".join(f"*{ending}" for ending in ENDINGS)
        dialog.setNameFilters([say("finetune_ui.data_files", endings=endings), say("finetune_ui.all_files")])
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        if await aio.ask(dialog) == QFileDialog.DialogCode.Accepted:
            self.take_file(Path(dialog.selectedFiles()[0]))

    def take_file(self, file: Path) -> None:
        """The data of a new run, in the wizard's step."""
        self._context.finetune_draft.choose_data(file)
        self.show_wizard("data")

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        files = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        known = [file for file in files if file.suffix.lower() in ENDINGS]
        if known:
            QTimer.singleShot(0, self, lambda: self.take_file(known[0]))  # the drag has to end first
        elif files:
            self._window.notify("warn", say("finetune_ui.not_data", name=files[0].name))

    # --- what went wrong -----------------------------------------------------------------------

    async def guarded(self, work: Awaitable[None]) -> None:
        """Do it; its error stands on the page until it is closed or the next verb begins."""
        await self._notice.guarded(work)

    def failed(self) -> str:
        """The error that stands on the page, "" when none does."""
        return self._notice.words

    def tell(self, error: UserError) -> None:
        self._notice.tell(error)
