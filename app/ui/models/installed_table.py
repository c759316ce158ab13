"""The table of the models on this machine: an adapter stands beneath its base, memory as measured or as estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from PySide6.QtCore import QItemSelectionModel

from app.services import estimates
from app.services.badges import Badge
from app.services.fitting import Room
from app.services.installed import Installed
from app.ui.model_words import device_words, kv_words
from app.ui.models.offer_words import TONES, badge_words, licence_words
from app.ui.widgets.table import Cell, Rows, Table
from core import figures
from core.store.records import MeasuredMemory, StoredModel
from core.translation import say

COLUMNS = (("model", 0), ("weights", 84), ("size", 92), ("memory", 176), ("context", 92), ("used", 144))
SPARE = (4, 1, 5, 2)  # columns that go where room is scarce
LEAST_PX = 250
ESTIMATED_MARK = "≈ "


@dataclass(frozen=True, slots=True)
class Known:
    """What the store and the estimates add to what lies on the disk."""

    stored: Mapping[str, StoredModel]
    badges: Mapping[str, Badge]
    free: Room


class InstalledTable(Table):
    """
    Attributes:
        models: a row each
    """

    def __init__(self) -> None:
        self._rows = Rows([say(f"models.{name}") for name, _ in COLUMNS], [])
        super().__init__(say("window.models"), self._rows, [width for _, width in COLUMNS], tall=True)
        self.models: list[Installed] = []
        self.give_way(SPARE, LEAST_PX)

    def show_models(self, models: Sequence[Installed], known: Known) -> None:
        """The choice and the place of the scroll bar stay."""
        chosen, scrolled = self.chosen_model(), self.verticalScrollBar().value()
        names = {model.manifest.name for model in models}
        cells = [_cells(model, known, names) for model in models]
        if [model.manifest.name for model in models] == [model.manifest.name for model in self.models]:
            self.models = list(models)
            for place, row in enumerate(cells):
                self._rows.change(place, row)
            return
        self.models = list(models)
        self._rows.replace(cells)
        self.choose(chosen.manifest.name if chosen else "")
        self.verticalScrollBar().setValue(scrolled)

    def choose(self, name: str) -> None:
        """By its name; without such a one the first."""
        places = [place for place, model in enumerate(self.models) if model.manifest.name == name]
        if self.models:
            flags = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows
            index = self._rows.index(places[0] if places else 0, 0)
            self.selectionModel().setCurrentIndex(index, flags)

    def chosen_model(self) -> Installed | None:
        place = self.currentIndex().row()
        return self.models[place] if 0 <= place < len(self.models) else None


def _cells(model: Installed, known: Known, names: set[str]) -> list[Cell]:
    """An adapter stands beneath its base, set in; without its base it says so."""
    facts = model.manifest
    is_adapter = bool(facts.base)
    if is_adapter:
        second = say("models.adapter_of" if facts.base in names else "models.base_missing", base=facts.base)
    else:
        kind = say("models.kind_chat" if facts.can_chat else "models.kind_base")
        licence = licence_words(facts.licence) if facts.licence else ""
        family = say(f"family.{facts.family}") if facts.family not in ("", "other") else ""
        parts = (family, kind, figures.parameters(facts.parameters), licence)
        second = " · ".join(part for part in parts if part)
    if model.is_gone:
        second = say("models.folder_gone")
    stored = known.stored.get(facts.name)
    used = stored.last_used if stored is not None else None
    return [
        Cell(facts.name, second, indent=is_adapter and facts.base in names),
        Cell("–" if is_adapter else figures.precision(facts.weights)),
        Cell(figures.size(facts.size_bytes), number=True),
        memory_cell(stored.measured if stored is not None else None, known.badges.get(facts.name), known.free),
        Cell(figures.count(facts.context_length) if facts.context_length else "–", number=True),
        Cell(_when(used) if used else say("models.never")),
    ]


def memory_cell(measured: MeasuredMemory | None, badge: Badge | None, free: Room) -> Cell:
    """What it took here, else what it would take; the hint says which, with all numbers."""
    if measured is not None:
        shown = estimates.measured(measured, free)
        words = figures.size(measured.bytes)
        hint = measured_words(measured)
        return Cell(words, badge=badge_words(shown), tone=TONES[shown.verdict], mark="dot", hint=hint)
    if badge is not None:
        words = ESTIMATED_MARK + figures.size(badge.needed)
        return Cell(words, badge=badge_words(badge), tone=TONES[badge.verdict], mark="dot", hint=estimated_words(badge))
    return Cell("–")


def measured_words(measured: MeasuredMemory) -> str:
    return say(
        "models.measured",
        size=figures.size(measured.bytes),
        device=device_words(measured.device),
        tokens=figures.count(measured.tokens),
        weights=figures.precision(measured.weights),
        kv=kv_words(measured.kv_cache),
    )


def estimated_words(badge: Badge) -> str:
    free, tokens = figures.size(badge.free), figures.count(badge.context)
    return say("models.estimated", size=figures.size(badge.needed), tokens=tokens, free=free)


def _when(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
