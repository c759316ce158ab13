"""The table of models that can be had. Invariant: an update keeps the chosen row and the place of the scroll bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QItemSelectionModel

from app.services import estimates
from app.services.discovery import Offer
from app.services.estimates import Badges
from app.ui.models.offer_words import TONES, badge_words, facts_line, form_words, hubs_words, offer_weights, reason
from app.ui.widgets.table import Cell, Rows, Table
from core import figures
from core.translation import say

COLUMNS = (("model", 0), ("weights", 84), ("download", 96), ("memory", 190), ("sources", 200), ("downloads", 104))
DOWNLOADS = 5
SPARE = (DOWNLOADS, 4, 1, 2)  # columns that go where room is scarce
LEAST_PX = 250


class OfferTable(Table):
    """
    Attributes:
        offers: a row each
    """

    def __init__(self) -> None:
        self._rows = Rows([say(f"discover.column_{name}") for name, _ in COLUMNS], [])
        super().__init__(say("discover.list"), self._rows, [width for _, width in COLUMNS], tall=True)
        self.offers: tuple[Offer, ...] = ()
        self._cells: list[list[Cell]] = []
        self.give_way(SPARE, LEAST_PX)

    def show_offers(
        self, offers: Sequence[Offer], badges: Callable[[Offer], Badges], installed: Callable[[Offer], str]
    ) -> None:
        chosen, scrolled = self.offer(), self.verticalScrollBar().value()
        cells = [cells_of(offer, badges(offer), bool(installed(offer))) for offer in offers]
        self.give_way(SPARE, LEAST_PX, () if any(offer.downloads for offer in offers) else (DOWNLOADS,))
        same = [offer.id for offer in offers] == [offer.id for offer in self.offers]
        self.offers = tuple(offers)
        if same:
            for place, row in enumerate(cells):
                if row != self._cells[place]:
                    self._rows.change(place, row)
            self._cells = cells
            return
        self._cells = cells
        quiet = self.selectionModel().blockSignals(True)
        self._rows.replace(cells)
        if chosen is not None and any(offer.id == chosen.id for offer in offers):
            self.choose(chosen.id)
        self.selectionModel().blockSignals(quiet)
        self.verticalScrollBar().setValue(scrolled)
        self.viewport().update()

    def offer(self) -> Offer | None:
        """The chosen one."""
        place = self.currentIndex().row()
        return self.offers[place] if 0 <= place < len(self.offers) else None

    def choose(self, offer_id: str = "") -> None:
        """By its id, without one the first."""
        places = [place for place, offer in enumerate(self.offers) if offer.id == offer_id or not offer_id]
        if places:
            flags = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows
            self.selectionModel().setCurrentIndex(self._rows.index(places[0], 0), flags)


def cells_of(offer: Offer, badges: Badges, is_installed: bool) -> list[Cell]:
    entry = offer.entry
    size = figures.size(entry.download_bytes) if entry is not None and entry.download_bytes else "–"
    name = entry.title if entry is not None and entry.title else offer.name
    note = say("discover.installed") if is_installed else ""
    return [
        Cell(name, facts_line(offer), note=note),
        Cell(offer_weights(offer)),
        Cell(size, number=True),
        _memory(offer, badges),
        Cell(hubs_words(offer)),
        Cell(figures.rough_count(offer.downloads) if offer.downloads else "–", number=True),
    ]


def _memory(offer: Offer, badges: Badges) -> Cell:
    """In the first form that fits: another one than the published is named."""
    best = estimates.best(badges)
    if best is None:
        return Cell("–", hint=say("discover.memory_unknown"))
    words = figures.size(best.needed)
    as_published = next(iter(badges))
    if best.form != as_published:
        words = say("discover.as_form", size=words, form=form_words(best.form, offer))
    hint = reason(best, offer)
    return Cell(words, badge=badge_words(best), tone=TONES[best.verdict], mark="dot", hint=hint)
