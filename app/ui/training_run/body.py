"""What stands below the head of a run's page, part after part.

Invariant: a part that has nothing to say takes no room; an update changes words, never the order of the parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

from app.services import machine
from app.services.training import Run
from app.ui import aio
from app.ui.tokens import Space
from app.ui.training_run.actions import RunActions
from app.ui.training_run.charts import RunCharts
from app.ui.training_run.facts import FactsView, RecipeView
from app.ui.training_run.figure_cards import FigureCards
from app.ui.training_run.overlay import Overlay
from app.ui.training_run.result_card import ResultCard
from app.ui.training_run.trouble import Trouble
from app.ui.training_run.wall import SampleWall
from app.ui.training_run.words import SEPARATOR, method_words
from app.ui.widgets.layout import Elided, column, label, settle_layouts
from core.errors import UserError
from core.training.recipe import Recipe
from core.training.run_files import RunFiles
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

Guarded = Callable[[Awaitable[None]], Coroutine[Any, Any, None]]


class RunBody(QWidget):
    """
    Signals:
        again_asked: the wizard shall open with this recipe
        merge_asked, export_asked: the name of a result
        failed: UserError, of a part
    """

    again_asked = Signal(Recipe)
    merge_asked = Signal(str)
    export_asked = Signal(str)
    failed = Signal(UserError)

    def __init__(self, window: Window, context: AppContext, actions: RunActions, guarded: Guarded) -> None:
        super().__init__()
        self._window, self._context, self._actions, self._guarded = window, context, actions, guarded
        self._training = context.training
        self._id = ""
        self._has_steps = False
        self.charts: RunCharts | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def build(self, run: Run) -> Iterator[None]:
        """The parts, one after the other: no frame shall wait for all."""
        self._id = run.id
        whole = column(gap=Space.L)
        whole.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
        self.setLayout(whole)
        self.sentence = label("", "body", "soft", wrap=True)
        self.about = Elided("", "caption", "muted")
        whole.addLayout(column(self.sentence, self.about, gap=Space.XXS))
        for part in self._parts(run):
            whole.addWidget(part)
            yield

    def _parts(self, run: Run) -> Iterator[QWidget]:
        self.trouble = Trouble(self._window, self._context)
        self.trouble.restart_asked.connect(self._restart)
        self.trouble.again_asked.connect(self.again_asked)
        yield self.trouble
        self.result = ResultCard(self._context)
        self.result.chat_asked.connect(self._actions.chat_with)
        self.result.compare_asked.connect(self._compare)
        self.result.merge_asked.connect(self.merge_asked)
        self.result.export_asked.connect(self.export_asked)
        yield self.result
        self.cards = FigureCards()
        yield self.cards
        self.overlay = Overlay(self._training, run.id)
        yield self._charts(run)
        yield self.overlay
        self.wall = SampleWall()
        yield self.wall
        self.facts = FactsView()
        yield self.facts
        self.recipe = RecipeView()
        yield self.recipe

    def _charts(self, run: Run) -> RunCharts:
        charts = self.charts = RunCharts(self._training, run.id, run.name, self.overlay.choose)
        charts.exported.connect(self._on_exported)
        charts.failed.connect(self.failed)
        charts.grown.connect(self._show_cards)
        self.overlay.added.connect(charts.lay_over)
        self.overlay.removed.connect(charts.take_off)
        return charts

    def leave(self) -> None:
        if self.charts is not None:
            self.charts.leave()
            self.trouble.leave()
        for task in self._tasks.values():
            task.cancel()

    # --- showing -------------------------------------------------------------------------

    def show_run(self, run: Run) -> None:
        self.sentence.setText(str(run.status))
        self.sentence.setVisible(run.status.state != "failed")  # then the banner says why
        about = (run.origin.model, method_words(run), Path(run.recipe.data).name)
        self.about.setText(SEPARATOR.join(about))
        self.trouble.show_run(run)
        self.facts.show_run(run)
        self.recipe.show_recipe(run.recipe)
        self._show_cards()
        if run.status.step and not self._has_steps:
            self._has_steps = True
            self.read()  # the answers of before the first step

    def _show_cards(self) -> None:
        if self.charts is not None and self._id in {run.id for run in self._training.runs}:
            self.cards.show_run(self._training.run(self._id), self.charts.feed)

    def turn(self, run: Run) -> None:
        """It went to work, or ended."""
        if run.status.is_alive:
            self._tasks["rewind"] = aio.spawn(self._rewind(run), "where a run goes on")
        self.read()

    async def _rewind(self, run: Run) -> None:
        saved = await asyncio.to_thread(RunFiles(run.path).saved_steps)
        if self.charts is not None:
            self.charts.feed.rewind(saved[-1] if saved else 0)

    async def first_read(self) -> None:
        """Returns when what lies on disk is shown, but for a long history."""
        self.read()
        while not (task := self._tasks["read"]).done():  # another may have taken its place meanwhile
            await asyncio.wait([task])

    def read(self) -> None:
        """Look again at what lies on disk: answers and checkpoints; and at the memory there is."""
        if (task := self._tasks.pop("read", None)) is not None:
            task.cancel()
        self._tasks["read"] = aio.spawn(self._read(), "files of a run")

    async def _read(self) -> None:
        try:
            run = self._training.run(self._id)
            answers = await self._training.answers(self._id)
            checkpoint = await asyncio.to_thread(RunFiles(run.path).last_checkpoint)
            reading = await machine.read()
            run = self._training.run(self._id)
        except UserError:
            return  # it was removed meanwhile
        if not isValid(self) or self.charts is None:
            return
        on_card = reading.card is not None and run.facts is not None and run.facts.device != "cpu"
        memory = reading.card.memory if on_card and reading.card is not None else reading.memory
        self.charts.show_available(float(memory.total))
        self.wall.show_answers(run.recipe.prompts, answers, run.recipe.answer_tokens)
        self.result.show_run(run, checkpoint)
        self.trouble.show_checkpoint(checkpoint is not None)
        settle_layouts()

    # --- doing -----------------------------------------------------------------------------

    def _on_exported(self, file: Path) -> None:
        self._window.notify("ok", say("run_ui.saved", name=file.name), page=self)

    def _restart(self, recipe: Recipe) -> None:
        change = partial(self._training.change_and_resume, self._id, recipe)
        run = self._training.run(self._id)
        aio.spawn(self._guarded(self._actions.with_room(run, change)), "restart run")

    def _compare(self) -> None:
        from app.ui.training_run.compare import CompareDialog

        run = self._training.run(self._id)
        aio.spawn(aio.ask(CompareDialog(self._window, self._context, run, self.result.checkpoint)), "compare")
