"""Why a run failed, in one sentence, and what to change, each change with one click.

Invariant: shown exactly while the run in view has failed; what it proposes is made for this run, this machine and now.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget
from shiboken6 import isValid

from app.services import fitting, machine
from app.services.training import Run
from app.ui import aio
from app.ui.tokens import Space
from app.ui.training_run import remedies
from app.ui.training_run.remedies import Remedy
from app.ui.why import why
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Banner
from app.ui.widgets.layout import Card, Line, column, label, pane, row
from core import figures
from core.errors import UserError
from core.protocol.messages import Failed
from core.training.recipe import Recipe
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

TITLES = {"training_memory": "memory", "training_diverged": "diverged", "training_disk": "disk"}


class Trouble(QWidget):
    """
    Signals:
        restart_asked: go on with this recipe
        again_asked: a new run with this recipe

    Attributes:
        remedies: what is proposed, the best first
    """

    restart_asked = Signal(Recipe)
    again_asked = Signal(Recipe)

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self.remedies: list[Remedy] = []
        self.buttons: list[Button] = []
        self._window, self._context = window, context
        self._failed: tuple[Failed, Recipe] | None = None
        self._run: Run | None = None
        self._has_checkpoint = False
        self._asking: asyncio.Task[None] | None = None
        self._body: QVBoxLayout = column(gap=Space.S)
        self.setLayout(self._body)
        self.hide()

    def leave(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    def show_run(self, run: Run) -> None:
        end = run.status.end
        failed = (end, run.recipe) if isinstance(end, Failed) and not run.status.is_alive else None
        self._run = run
        if failed == self._failed:
            return
        self._failed, self.remedies = failed, []
        self.leave()
        self.setVisible(failed is not None)
        self._show()
        if failed is not None:
            self._asking = aio.spawn(self._find(run, failed[0]), "remedies")

    def show_checkpoint(self, there_is_one: bool) -> None:
        if there_is_one != self._has_checkpoint:
            self._has_checkpoint = there_is_one
            self._show()

    async def _find(self, run: Run, failed: Failed) -> None:
        if failed.code == "training_diverged":
            found = remedies.for_divergence(run.recipe, run.facts, run.status.step)
        elif failed.code == "training_disk":
            found = remedies.for_disk(run.recipe)
        elif failed.code == "training_memory" or failed.kind == "oom":
            found = await self._for_memory(run)
        else:
            found = []
        if isValid(self):
            self.remedies = found
            self._show()

    async def _for_memory(self, run: Run) -> list[Remedy]:
        try:
            subject = await fitting.look(run.origin.model, Path(run.origin.model_folder))
        except (UserError, OSError, ValueError):
            return []  # the model has gone; that is said when the run is resumed
        room = fitting.room(await machine.read(), self._context.inference.state.loaded)
        return remedies.for_memory(run.recipe, subject, room)

    # --- showing -------------------------------------------------------------------------

    def _show(self) -> None:
        while item := self._body.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        self.buttons = []
        if self._failed is None or self._run is None:
            return
        failed, recipe = self._failed
        change = Button(say("run_ui.change_recipe"), "secondary", "edit")
        change.clicked.connect(lambda: self.again_asked.emit(recipe))
        title = say(f"run_ui.trouble_{TITLES.get(failed.code, 'other')}", step=figures.count(self._run.status.step))
        reason = say(f"error.{failed.code}", **failed.params)
        self._body.addWidget(Banner("bad", title, reason, *why(self._window, failed.code), change))
        if self.remedies:
            self._body.addWidget(self._offers())

    def _offers(self) -> QWidget:
        lines = column(gap=0)
        for place, remedy in enumerate(self.remedies):
            if place:
                lines.addWidget(Line())
            lines.addWidget(self._offer(place, remedy))
        return Card(column(label(say("run_ui.what_helps"), "heading"), lines, gap=Space.XS), padding=Space.L)

    def _offer(self, place: int, remedy: Remedy) -> QWidget:
        in_place = remedy.goes_on or not self._has_checkpoint
        key = "restart_from" if self._has_checkpoint and in_place else "restart" if in_place else "again"
        button = Button(say(f"run_ui.do_{key}"), "secondary" if place else "primary", small=True)
        button.setAccessibleName(f"{button.text()}: {remedy.words}")
        asked = self.restart_asked if in_place else self.again_asked
        button.clicked.connect(lambda: asked.emit(remedy.recipe))
        self.buttons.append(button)
        words = column(
            label(remedy.words, "strong", wrap=True), label(remedy.means, "caption", "muted", wrap=True), gap=0
        )
        line = row(words, button, gap=Space.L)
        line.setStretch(0, 1)
        line.setContentsMargins(0, Space.S, 0, Space.S)
        return pane(line)
