"""What is searched for: the catalogue at every key, the hubs a moment after the last one.

Invariant: what is shown belongs to the words that stand in the field now; an older question is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

from PySide6.QtCore import QObject, QTimer

from app.services.discovery import DiscoveryService, Listing, Offer
from app.ui import aio
from core.errors import UserError
from core.sources import PLACES

SETTLE_MS = 300


class Search(QObject):
    """
    Attributes:
        is_asking: hubs have not all answered yet
    """

    def __init__(self, parent: QObject, discovery: DiscoveryService, show: Callable[[Listing], None]) -> None:
        super().__init__(parent)
        self.words = ""
        self.listing = Listing(())
        self._discovery, self._show = discovery, show
        self._asking: asyncio.Task[None] | None = None
        self._settle = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._settle.timeout.connect(self._ask)

    @property
    def is_asking(self) -> bool:
        return self._settle.isActive() or (self._asking is not None and not self._asking.done())

    def look_for(self, words: str) -> None:
        """At once what the catalogue has, and of what the hubs told before what still fits."""
        self.words = words
        self.leave()
        own = self._discovery.catalogue(words)
        wanted = words.casefold().split()
        kept = tuple(offer for offer in self.listing.offers if wanted and _still(offer, wanted))
        if wanted:
            self._settle.start()
        self._tell(Listing((*own, *kept), PLACES if wanted else ()))

    def again(self) -> None:
        """Ask the hubs anew, now."""
        self.leave()
        self._ask()

    def leave(self) -> None:
        """Give up what is being asked."""
        self._settle.stop()
        if self._asking is not None:
            self._asking.cancel()

    def _ask(self) -> None:
        if self.words.strip():
            self._asking = aio.spawn(self._read(self.words), "search the hubs")

    async def _read(self, words: str) -> None:
        try:
            async with aclosing(self._discovery.search(words)) as listings:
                async for listing in listings:
                    self._tell(self._with_kept(listing) if len(listing.waiting) == len(PLACES) else listing)
        except UserError as error:  # what keeps both from being asked
            self._tell(replace(self.listing, waiting=(), problems=tuple((place, error) for place in PLACES)))

    def _with_kept(self, listing: Listing) -> Listing:
        """No hub has answered yet: what they told before stays until then."""
        there = {offer.id for offer in listing.offers}
        kept = (offer for offer in self.listing.offers if offer.entry is None and offer.id not in there)
        return replace(listing, offers=(*listing.offers, *kept))

    def _tell(self, listing: Listing) -> None:
        self.listing = listing
        self._show(listing)


def _still(offer: Offer, wanted: list[str]) -> bool:
    return offer.entry is None and all(word in offer.id.casefold() for word in wanted)
