"""Which licences are shown and accepted once before a model is fetched.

Invariant: a licence that is known to be free is never asked about, and one that nobody can name always is; what was
accepted counts for that licence, and for one without a name of its own only for that repository.
"""

from __future__ import annotations

from app.services.discovery import Look, Offer

FREE = frozenset(
    {
        "afl-3.0", "apache-2.0", "artistic-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc0-1.0",
        "cc-by-4.0", "cc-by-sa-4.0", "gpl-3.0", "isc", "lgpl-3.0", "mit", "mpl-2.0", "unlicense", "zlib",
    }
)  # fmt: skip
NAMELESS = ("", "other", "unknown", "none")


def to_accept(offer: Offer, look: Look | None) -> str:
    """What stands for the licence among the accepted ones, "" where nothing is to be accepted."""
    if offer.entry is not None:
        return offer.entry.licence if offer.entry.needs_consent else ""
    name = licence_of(offer, look).lower()
    if name in FREE:
        return ""
    return f"{name or 'unknown'}:{offer.id}" if name in NAMELESS else name


def licence_of(offer: Offer, look: Look | None) -> str:
    """Its short name, "" where nobody says it. The catalogue knows better than a card: "other" says nothing."""
    if offer.entry is not None:
        return offer.entry.licence
    return (look.repository.licence if look is not None else "") or offer.licence


def licence_link(offer: Offer, look: Look | None) -> str:
    """Where its text stands, "" where that is not known."""
    own = offer.entry.licence_link if offer.entry is not None else ""
    return own or (look.repository.licence_link if look is not None else "")
