"""Step five: everything at a glance before it starts: the plan, what would need less, the same as a command.

Invariant: every number is the plan's; nothing that is not known is guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from app.services.finetune_draft import Told
from app.ui import aio, theme
from app.ui.finetune.command import CommandPane
from app.ui.finetune.fit import FitPane
from app.ui.finetune.step import Step, emptied
from app.ui.server.exchange import may_unload
from app.ui.tokens import Space
from app.ui.training_run.words import times
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Banner
from app.ui.widgets.layout import Card, column, label, pane, row
from app.ui.widgets.page import section
from core import figures
from core.errors import UserError
from core.training import recipe as recipes
from core.translation import say

NAME_WIDTH = 92
FACTS = ("model", "data", "method", "change", "steps", "tokens", "passes", "time", "disk")


class ReviewStep(Step):
    NAME = "review"

    def build(self) -> Iterator[None]:
        self._saving: asyncio.Task[None] | None = None
        self._freeing: asyncio.Task[None] | None = None
        self._notice: QVBoxLayout = column(gap=0)
        self._above = pane(self._notice)
        self._above.hide()
        self.lines.addWidget(self._above)
        self.facts: dict[str, str] = {}
        self._values = {name: label("", "body", wrap=True) for name in FACTS}
        self._parts = {name: self._fact(name) for name in FACTS}
        yield
        self.fit = FitPane()
        self.fit.taken.connect(lambda recipe: self.draft.take(recipe))
        yield
        self.command = CommandPane()
        self.command.save_asked.connect(self._ask_save)
        yield
        left = column(
            section(say("finetune_ui.plan"), "", Card(column(*self._parts.values()))), self.fit, None, gap=Space.XL
        )
        body = row(left, column(self.command, None, gap=0), gap=Space.XL)
        body.setStretch(0, 1)
        body.setStretch(1, 1)
        self.lines.addWidget(pane(body))
        self.lines.addStretch(1)

    def enter(self) -> None:
        self._show()

    def show_draft(self, told: Told) -> None:
        if told != "checking":
            self._show()

    def leave(self) -> None:
        if self.is_built:
            for task in (self._saving, self._freeing):
                if task is not None:
                    task.cancel()

    def _fact(self, name: str) -> QWidget:
        title = label(say(f"finetune_ui.plan_{name}"), "caption", "muted")
        title.setFixedWidth(round(NAME_WIDTH * theme.state.text_scale))
        line = row(title, self._values[name], gap=Space.M)
        line.setStretch(1, 1)
        return pane(line)

    # --- what is shown -----------------------------------------------------------------------

    def _show(self) -> None:
        self.facts = self._lines_of()
        for name, part in self._parts.items():
            part.setVisible(name in self.facts)
            self._values[name].setText(self.facts.get(name, ""))
        self.fit.show_draft(self.draft)
        self.command.show_recipe(self.draft.recipe)
        self._offer_to_free()

    def _lines_of(self) -> dict[str, str]:
        recipe, plan, report = self.draft.recipe, self.draft.plan(), self.draft.report
        found = {"model": recipe.model, "data": Path(recipe.data).name}
        if report is not None:
            rows, aside = figures.count(report.train_rows), figures.count(report.validation_rows)
            found["data"] += " · " + say("finetune_ui.plan_rows", rows=rows, aside=aside)
        found["method"] = say(f"finetune_ui.method_{recipe.method}")
        if recipe.method != "full":
            found["method"] += " · " + say("finetune_ui.plan_rank", rank=recipe.rank, alpha=f"{recipe.alpha:g}")
        if plan is None:
            return found
        found["change"] = say("finetune_ui.plan_trained", count=figures.parameters(plan.trained))
        steps, epochs = figures.count(plan.steps), _epochs(recipe, plan.steps_of_epoch)
        found["steps"] = say("finetune_ui.plan_of_steps", steps=steps, epochs=epochs, batch=recipe.batch)
        if plan.tokens:
            found["tokens"] = say("finetune_ui.plan_of_tokens", count=figures.count(plan.tokens))
        checkpointing = "finetune_ui.plan_twice" if plan.passes.checkpointing else "finetune_ui.plan_once"
        found["passes"] = say(checkpointing, tokens=figures.count(plan.passes.tokens))
        found["time"] = figures.duration(plan.seconds) if plan.seconds else say("finetune_ui.plan_time_unknown")
        found["disk"] = say("finetune_ui.plan_of_disk", size=figures.size(plan.disk))
        return found

    def _offer_to_free(self) -> None:
        """A chat model in memory, where its memory would be missed."""
        emptied(self._notice)
        state, is_missed = self.context.inference.state, self.draft.misses_chat_memory
        self._above.setVisible(is_missed)
        if not is_missed:
            return
        free = Button(say("finetune_ui.free_now"), "secondary", small=True)
        free.clicked.connect(self._free)
        words = say("finetune_ui.chat_loaded", name=state.name)
        self._notice.addWidget(Banner("warn", words, say("finetune_ui.chat_loaded_means"), free))

    # --- verbs -------------------------------------------------------------------------------------

    def _free(self) -> None:
        self._freeing = aio.spawn(self._unload(), "unload model")

    async def _unload(self) -> None:
        if not await may_unload(self.window_, self.context):
            return
        await self.context.inference.unload()
        await self.draft.measure()
        self._show()

    def _ask_save(self) -> None:
        self._saving = aio.spawn(self._save(), "save recipe")

    async def _save(self) -> None:
        name = f"{self.draft.recipe.name or 'recipe'}.toml"
        dialog = QFileDialog(self.window_, say("finetune_ui.save_recipe"), str(Path.home()))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilters([say("finetune_ui.recipe_files")])
        dialog.selectFile(name)
        if not await aio.ask(dialog):
            return
        file = Path(dialog.selectedFiles()[0])
        try:
            await asyncio.to_thread(recipes.write, file, self.draft.recipe)
        except (OSError, UserError) as error:
            self.window_.notify("bad", str(error), page=self)
        else:
            self.command.show_saved(file)
            self.window_.notify("ok", say("finetune_ui.saved", file=file.name), page=self)


def _epochs(recipe: recipes.Recipe, steps_of_epoch: float) -> str:
    if recipe.steps:
        return times(recipe.steps / steps_of_epoch) if steps_of_epoch else "–"
    return times(recipe.epochs)
