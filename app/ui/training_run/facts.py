"""What a run found out before its first step, and its recipe as the file that makes it again.

Invariant: what is not known yet is not shown; every word can be selected and copied.
"""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QWidget

from app.services.training import Run
from app.ui.tokens import Space
from app.ui.widgets.code import CodeBlock
from app.ui.widgets.layout import Card, column, label, pane
from app.ui.widgets.page import section
from core import figures
from core.training import recipe as recipes
from core.training.recipe import Recipe
from core.training.run_files import RunFacts
from core.translation import say

SELECTABLE = Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
NAME_PX = 150


class FactsView(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.shown: RunFacts | None = None
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(Space.L)
        self._grid.setVerticalSpacing(Space.S)
        self._grid.setColumnMinimumWidth(0, NAME_PX)
        self._grid.setColumnStretch(1, 1)
        self.setLayout(column(section(say("run_ui.facts"), "", Card(column(pane(self._grid))))))
        self.hide()

    def show_run(self, run: Run) -> None:
        if run.facts == self.shown:
            return
        self.shown = run.facts
        while item := self._grid.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        self.setVisible(run.facts is not None)
        if run.facts is not None:
            for row, (name, words) in enumerate(facts_of(run, run.facts)):
                self._add(row, name, words)

    def _add(self, row: int, name: str, words: str) -> None:
        top = Qt.AlignmentFlag.AlignTop
        value = label(words, wrap=True)
        value.setTextInteractionFlags(SELECTABLE)
        value.setAccessibleName(name)
        self._grid.addWidget(label(name, "body", "muted"), row, 0, top)
        self._grid.addWidget(value, row, 1, top)


def facts_of(run: Run, facts: RunFacts) -> list[tuple[str, str]]:
    """Name and words, as they stand on the page."""
    count, recipe = figures.count, run.recipe
    rows = say("run_ui.rows_value", rows=count(facts.rows), aside=count(facts.kept_aside))
    if facts.cut:
        rows = f"{rows} {say('run_ui.cut_value', cut=count(facts.cut), length=count(recipe.length))}"
    learned = facts.learned / max(1, facts.tokens)
    share = facts.trained / max(1, facts.parameters)
    reason = say(f"reason.{facts.reason}") if facts.reason else ""
    precision = f"{figures.precision(facts.precision)} ({facts.device}). {reason}".strip()
    packing = say("run_ui.packing_on" if facts.packs else "run_ui.packing_off")
    return [
        (say("run_ui.fact_rows"), rows),
        (say("run_ui.fact_tokens"), say("run_ui.tokens_value", tokens=count(facts.tokens), learned=f"{learned:.0%}")),
        (say("run_ui.fact_trained"), say("run_ui.trained_value", trained=figures.parameters(facts.trained),
                                         share=f"{share:.2%}", all=figures.parameters(facts.parameters))),
        (say("run_ui.fact_precision"), precision),
        (say("run_ui.fact_weights"), figures.precision(facts.weights) if facts.weights else "–"),
        (say("run_ui.fact_packing"), f"{packing} {say('run_ui.pass_value', tokens=count(facts.pass_tokens))}"),
        (say("run_ui.fact_checkpointing"), say(f"run_ui.checkpointing_{'on' if facts.checkpointing else 'off'}")),
        (say("run_ui.fact_data"), f"{recipe.data}\nsha256 {facts.fingerprint}"),
        (say("run_ui.fact_versions"), ", ".join(f"{name} {number}" for name, number in facts.versions.items())),
    ]  # fmt: skip


class RecipeView(QWidget):
    """The recipe as TOML, with a button to copy it."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: Recipe | None = None
        self._room = _Room()
        self.setLayout(column(section(say("run_ui.recipe"), say("run_ui.recipe_means"), self._room)))

    def show_recipe(self, recipe: Recipe) -> None:
        if recipe != self.shown:
            self.shown = recipe
            self._room.block.replace("toml", recipes.text(recipe).strip())
            self._room.fit()


class _Room(QWidget):
    """Gives the block its width, and is as tall as it."""

    def __init__(self) -> None:
        super().__init__()
        self.block = CodeBlock("toml", "")
        self.block.setParent(self)

    def fit(self) -> None:
        tall = self.block.fit(self.width())
        self.block.setGeometry(0, 0, self.width(), tall)
        self.setFixedHeight(tall)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.fit()
