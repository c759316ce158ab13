"""Step one: which model shall learn. Adapters are left out, with the reason; each model says what training it takes.

Invariant: the choice in the table is the draft's.
"""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import QItemSelectionModel, QModelIndex

from app.services.badges import Badge
from app.services.finetune_draft import Told
from app.services.installed import Installed
from app.ui.finetune.step import Step
from app.ui.models.installed import STARTER
from app.ui.models.offer_words import TONES
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import EmptyState
from app.ui.widgets.layout import Card, column, label
from app.ui.widgets.table import Cell, Rows, Table
from core import figures
from core.translation import say

COLUMNS = (("model", 0), ("weights", 84), ("lora", 178), ("qlora", 178))


class ModelStep(Step):
    NAME = "model"

    def build(self) -> Iterator[None]:
        self.bases: list[Installed] = []
        self.intro = label(say("finetune_ui.model_intro"), "body", "soft", wrap=True)
        self.lines.addWidget(self.intro)
        yield
        self._rows = Rows([say(f"finetune_ui.model_{name}") for name, _ in COLUMNS], [])
        self.table = Table(say("finetune_ui.step_model"), self._rows, [width for _, width in COLUMNS], tall=True)
        self.table.give_way((1,), 240)
        self.table.selectionModel().currentRowChanged.connect(self._on_row)
        self.card = Card(column(self.table), padding=1)
        self.lines.addWidget(self.card)
        yield
        self.meaning = label("", "body", wrap=True)
        self.left_out = label("", "caption", "muted", wrap=True)
        self.lines.addWidget(self.meaning)
        self.lines.addWidget(self.left_out)
        yield
        self.empty = self._empty()
        self.lines.addWidget(self.empty)
        self.lines.addStretch(1)

    def _empty(self) -> EmptyState:
        self.starter = Button(say("finetune_ui.get_starter"), "primary", "download")
        self.starter.clicked.connect(self._get_starter)
        other = Button(say("finetune_ui.other_models"), "secondary", "models")
        other.clicked.connect(lambda: self.window_.go("models"))
        return EmptyState("models", say("finetune_ui.no_model"), say("finetune_ui.no_model_means"), self.starter, other)

    def _get_starter(self) -> None:
        page = self.window_.go("models")
        page.pull_starter()  # type: ignore[union-attr]

    def enter(self) -> None:
        self.show_draft("models")

    def show_draft(self, told: Told) -> None:
        if told in ("models", "room"):
            self._fill()
        if told in ("models", "model", "recipe"):
            self._choose()

    def _fill(self) -> None:
        draft = self.draft
        bases = [model for model in draft.models if not model.manifest.base]
        cells = [_cells(model, draft.memory.get(model.manifest.name, {})) for model in bases]
        if [model.manifest.name for model in bases] == [model.manifest.name for model in self.bases]:
            for place, row in enumerate(cells):
                self._rows.change(place, row)
        else:
            self.bases = bases
            quiet = self.table.selectionModel().blockSignals(True)
            self._rows.replace(cells)
            self.table.selectionModel().blockSignals(quiet)
            self.table.fit_height()
        adapters = [model.manifest.name for model in draft.models if model.manifest.base]
        self.left_out.setText(say("finetune_ui.adapters_out", names=", ".join(adapters)) if adapters else "")
        self.left_out.setVisible(bool(adapters))
        for part in (self.intro, self.card, self.meaning):
            part.setVisible(bool(bases))
        self.empty.setVisible(not bases)

    def _choose(self) -> None:
        names = [model.manifest.name for model in self.bases]
        if self.draft.recipe.model not in names:
            if len(names) == 1:
                self.draft.choose_model(names[0], by_itself=True)  # nothing to decide
                return
            self.table.setCurrentIndex(QModelIndex())
            self.meaning.setText("")
            return
        place = names.index(self.draft.recipe.model)
        if self.table.currentIndex().row() != place:
            flags = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows
            self.table.selectionModel().setCurrentIndex(self._rows.index(place, 0), flags)
        facts = self.bases[place].manifest
        self.meaning.setText(say("finetune_ui.is_chat" if facts.can_chat else "finetune_ui.is_base", name=facts.name))

    def _on_row(self, now: QModelIndex, _: QModelIndex) -> None:
        if 0 <= now.row() < len(self.bases):
            name = self.bases[now.row()].manifest.name
            if name != self.draft.recipe.model:
                self.draft.choose_model(name)


def _cells(model: Installed, badges: dict[str, Badge]) -> list[Cell]:
    facts = model.manifest
    kind = say("models.kind_chat" if facts.can_chat else "models.kind_base")
    hint = say("finetune_ui.starter_hint") if facts.name == STARTER else ""
    parts = (kind, figures.parameters(facts.parameters), hint)
    second = " · ".join(part for part in parts if part)
    weights = Cell(figures.precision(facts.weights))
    return [Cell(facts.name, second), weights, *(memory_cell(badges.get(way)) for way in ("lora", "qlora"))]


def memory_cell(badge: Badge | None) -> Cell:
    """What training it in a way takes here; nothing where it cannot be."""
    if badge is None:
        return Cell("–", hint=say("finetune_ui.way_closed"))
    needed, free = figures.size(badge.needed), figures.size(badge.free)
    hint = say("finetune_ui.badge_hint", needed=needed, free=free, tokens=figures.count(badge.context))
    word = say(f"load.{badge.verdict}")
    return Cell(f"≈ {needed}", badge=word, tone=TONES[badge.verdict], mark="dot", hint=hint)
