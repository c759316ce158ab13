"""Discover: what can be had, searched and filtered, with a badge that says whether it runs here.

Invariant: the catalogue is there without a network; a hub that is slow or silent costs a line, never the list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QSizePolicy, QStackedWidget, QWidget
from shiboken6 import isValid

from app.services import estimates
from app.services.discovery import Listing, Offer
from app.services.installed import Installed
from app.services.questions import of_error
from app.ui import aio, shortcuts, theme
from app.ui.models.naming import installed_as
from app.ui.models.offer_table import OfferTable
from app.ui.models.offer_words import has_answer, place_words, shortened, tags_of
from app.ui.models.running_card import RunningCard
from app.ui.models.search import Search
from app.ui.tokens import Size, Space
from app.ui.why import why_button
from app.ui.widgets.button import Button, Chip
from app.ui.widgets.feedback import EmptyState
from app.ui.widgets.fields import SearchField
from app.ui.widgets.layout import Card, Elided, column, pane, row
from app.ui.widgets.progress import Bar
from core import figures
from core.sources import PLACES
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

KINDS = ("chat", "code", "thinking", "base")
MEMORY_MS = 5000
WIDE_PX = 700


class DiscoverView(QWidget):
    """
    Signals:
        offer_chosen: the Offer whose details shall be shown, None where none is chosen
        counted: the badges or the models here have changed
    """

    offer_chosen = Signal(object)
    opened = Signal()

    def __init__(self, window: Window, context: AppContext, running: RunningCard) -> None:
        super().__init__()
        self._window, self._context = window, context
        self.installed: list[Installed] = []
        self._hidden = 0
        self._measuring: asyncio.Task[None] | None = None
        self.is_ready = False
        self._running = running
        self.search = Search(self, context.discovery, self._show)
        self._watch = QTimer(self, interval=MEMORY_MS)
        self._watch.timeout.connect(self._measure)
        self._lines = column(gap=0)
        self.setLayout(self._lines)

    # --- layout ----------------------------------------------------------------------

    def build(self) -> Iterator[None]:
        """In pieces, into the page that is in view, so that no frame waits for all of them."""
        self._lines.addLayout(self._make_filters())
        self._lines.addSpacing(Space.S)
        yield
        line = self._make_line()
        self._lines.addWidget(self._asked)
        self._lines.addSpacing(Space.XXS)
        self._lines.addWidget(line)
        self._lines.addSpacing(Space.XS)
        self._lines.addWidget(self._running)
        yield
        self._stack = QStackedWidget()
        self._lines.addWidget(Card(column(self._stack), padding=1), 1)
        self.table = OfferTable()
        self.table.selectionModel().currentRowChanged.connect(lambda *_: self.offer_chosen.emit(self.table.offer()))
        self.table.chosen.connect(lambda _: self.opened.emit())
        self._stack.addWidget(self.table)
        yield
        self._stack.addWidget(self._make_empty())
        self.is_ready = True
        self.search.look_for(self.field.text())
        yield

    def _make_filters(self) -> QHBoxLayout:
        self.field = SearchField(say("discover.search"), shortcuts.keys("models", "find_model"))
        self.field.textChanged.connect(lambda words: self.search.look_for(words))
        self.field.returnPressed.connect(lambda: self.search.again())
        self.fits = Chip(say("discover.fits_here"), "check", checkable=True)
        self.fits.setChecked(True)
        self.kinds = {kind: Chip(say(f"discover.chip_{kind}"), checkable=True) for kind in KINDS}
        for chip in (self.fits, *self.kinds.values()):
            chip.toggled.connect(lambda _: self._filter())
        chips = row(self.fits, *self.kinds.values(), None, gap=Space.S)
        chips.setStretch(chips.count() - 1, 0)
        self._filters = row(self.field, pane(chips), gap=Space.S)
        self._filters.setStretch(0, 1)
        return self._filters

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where room is scarce the chips stand below the field."""
        super().resizeEvent(event)
        if self.is_ready:
            is_wide = self.width() >= round(WIDE_PX * theme.state.text_scale)
            self._filters.setDirection(
                QBoxLayout.Direction.LeftToRight if is_wide else QBoxLayout.Direction.TopToBottom
            )

    def _make_line(self) -> QWidget:
        self._asked = Bar(say("discover.asking"), height=2)
        keeps = self._asked.sizePolicy()
        keeps.setRetainSizeWhenHidden(True)
        self._asked.setSizePolicy(keeps)
        self._asked.hide()
        self._said = Elided("", "caption", "muted")
        self._said.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._why = row(gap=Space.S)
        self._again = Button(say("discover.again"), "ghost", "refresh", small=True)
        self._again.clicked.connect(lambda: self.search.again())
        line = row(self._said, self._again, gap=Space.S)
        line.insertLayout(1, self._why)
        line.setStretch(0, 1)
        below = pane(line)
        below.setFixedHeight(max(Size.CONTROL_S, round(20 * theme.state.text_scale)))
        return below

    def _make_empty(self) -> QWidget:
        self.show_all = Button(say("discover.show_all"), "secondary")
        self.show_all.clicked.connect(self._clear_filters)
        return EmptyState("search", say("discover.none"), say("discover.none_means"), self.show_all)

    def focus_search(self) -> None:
        self.field.setFocus()
        self.field.selectAll()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Down leads from the search into what was found."""
        if self.is_ready and self.field.hasFocus() and event.key() == Qt.Key.Key_Down and self.table.offers:
            self.table.choose()
            self.table.setFocus(Qt.FocusReason.TabFocusReason)
        else:
            super().keyPressEvent(event)

    # --- what is shown ---------------------------------------------------------------

    def enter(self) -> None:
        """It comes into view."""
        if not self.is_ready:
            return
        self._measure()
        self._watch.start()
        if self.table.offer() is None:
            self.table.choose()

    def rest(self) -> None:
        """It is out of view: nothing needs the free memory."""
        self._watch.stop()

    def leave(self) -> None:
        self.rest()
        self.search.leave()
        if self._measuring is not None:
            self._measuring.cancel()

    def show_installed(self, models: Sequence[Installed]) -> None:
        self.installed = list(models)
        self._filter()

    def refresh_badges(self) -> None:
        """A hub has told of one more."""
        self._filter()

    def _measure(self) -> None:
        if self._measuring is None or self._measuring.done():
            self._measuring = aio.spawn(self._read_memory(), "badges")

    async def _read_memory(self) -> None:
        changed = await self._context.estimates.refresh(self._context.inference.state.loaded)
        if changed and isValid(self):
            self._filter()
            if (offer := self.table.offer()) is not None:
                self.offer_chosen.emit(offer)

    def _show(self, listing: Listing) -> None:
        if not self.is_ready:
            return
        self._filter()
        done = len(PLACES) - len(listing.waiting)
        self._asked.set_share(0.12 + 0.88 * done / len(PLACES))
        self._asked.setVisible(bool(listing.waiting))
        self._tell(listing)

    def _filter(self) -> None:
        if not self.is_ready:
            return
        offers = self.search.listing.offers if self.search.words.strip() else newest_first(self.search.listing.offers)
        wanted = {kind for kind, chip in self.kinds.items() if chip.isChecked()}
        kept = [offer for offer in offers if not wanted or wanted & tags_of(offer)]
        shown = [offer for offer in kept if not self.fits.isChecked() or self._may_fit(offer)]
        self._hidden = len(kept) - len(shown)
        before = self.table.offer()
        self.table.show_offers(shown, self._context.estimates.of, lambda offer: installed_as(offer, self.installed))
        self._stack.setCurrentIndex(0 if shown else 1)
        self.show_all.setVisible(len(shown) < len(offers))
        if shown and self.table.offer() is None and self.isVisible():
            self.table.choose()
        elif not shown:
            self.offer_chosen.emit(None)
        elif (now := self.table.offer()) is not None and before is not None and now.id == before.id and now != before:
            self.offer_chosen.emit(now)  # the other hub has it too
        self._tell(self.search.listing)

    def _may_fit(self, offer: Offer) -> bool:
        """One whose memory is not known yet may."""
        best = estimates.best(self._context.estimates.of(offer))
        return best is None or best.verdict != "too_big"

    def _clear_filters(self) -> None:
        for chip in (self.fits, *self.kinds.values()):
            chip.setChecked(False)

    # --- the line below the field --------------------------------------------------------

    def _tell(self, listing: Listing) -> None:
        """Who does not answer, who is asked, or how many there are."""
        self._clear_why()
        self._again.setVisible(bool(listing.problems))
        if listing.problems:
            words = say("discover.space").join(dict.fromkeys(shortened(error) for _, error in listing.problems))
            self._said.setText(words)
            self._said.hint = "\n\n".join(dict.fromkeys(str(error) for _, error in listing.problems))
            self._said.setAccessibleDescription(self._said.hint)
            first = next((error for _, error in listing.problems if has_answer(error)), None)
            if first is not None:
                self._why.addWidget(why_button(self._window, of_error(first.code)))
            return
        self._said.hint = ""
        self._said.setAccessibleDescription("")
        self._said.setText(self._counted(listing) if self.table.offers or listing.waiting else "")

    def _counted(self, listing: Listing) -> str:
        shown = len(self.table.offers)
        words = say("discover.count", count=figures.count(shown)) if shown != 1 else say("discover.count_one")
        if self._hidden:
            words += "  ·  " + say("discover.count_hidden", count=figures.count(self._hidden))
        if listing.waiting and self.search.words.strip():
            places = say("discover.and").join(place_words(place) for place in listing.waiting)
            words += "  ·  " + say("discover.waiting", hubs=places)
        elif not self.search.words.strip():
            words += "  ·  " + say("discover.type_to_search")
        return words

    def _clear_why(self) -> None:
        while item := self._why.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()

    def said(self) -> str:
        """The line below the field."""
        return self._said.text()


def newest_first(offers: Sequence[Offer]) -> tuple[Offer, ...]:
    """Of the catalogue as a whole; the starter, which runs everywhere, stays on top. Those of which a hub has to say
    first what they take come last."""
    known = sorted(offers, key=lambda offer: offer.entry.released if offer.entry is not None else "", reverse=True)
    return tuple(sorted(known, key=lambda offer: (bool(offer.sources), not (offer.entry and offer.entry.config))))
