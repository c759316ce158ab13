"""A model that can be had, in words: what it is, its facts in one line, its licence, its memory.

Invariant: nothing is guessed in a sentence; a tag that is only read off a name is used for filters alone.
"""

from __future__ import annotations

import re

from app.services.badges import Badge, Form
from app.services.discovery import Offer
from app.services.questions import of_error
from app.ui.widgets.badge import Tone
from core import figures
from core.errors import UserError
from core.sources import NAMES, Place
from core.translation import catalogue, language, say

TONES: dict[str, Tone] = {"fits": "ok", "tight": "warn", "too_big": "bad"}
SAID = ("chat", "base", "thinking", "tools", "code", "moe")  # in this order
SENTENCES = ("thinking", "tools", "code", "moe")
_NAMED = {"code": r"coder?|code", "thinking": r"thinking|qwq|r1", "chat": r"chat|instruct|it", "base": r"base"}


def tags_of(offer: Offer) -> frozenset[str]:
    """For the filters; of one that the catalogue does not know, what its name says."""
    if offer.entry is not None:
        return frozenset(offer.entry.tags)
    parts = re.split(r"[^a-z0-9]+", offer.id.rpartition("/")[2].lower())
    return frozenset(tag for tag, words in _NAMED.items() if any(re.fullmatch(words, part) for part in parts))


def facts_line(offer: Offer) -> str:
    """`Chat, thinking, tools · 32k context · Apache-2.0`; of one from a hub its owner and what the hub says."""
    entry = offer.entry
    if entry is None:
        size = figures.parameters(offer.parameters) if offer.parameters else ""
        gated = say("discover.gated") if offer.gated else ""
        parts = (offer.id, size, licence_words(offer.licence) if offer.licence else "", gated)
        return " · ".join(part for part in parts if part)
    tags = say("discover.comma").join(say(f"discover.tag_{tag}") for tag in SAID if tag in entry.tags)
    context = say("discover.context", count=thousands(entry.context_length))
    return " · ".join((tags[:1].upper() + tags[1:], context, licence_words(entry.licence)))


def about(offer: Offer) -> str:
    """What it is, in a few sentences."""
    entry = offer.entry
    if entry is None:
        return say("discover.about_found", hubs=hubs_words(offer))
    kind = "base" if "base" in entry.tags else "chat"
    size = figures.parameters(entry.parameters)
    first = say(f"discover.about_{kind}", family=say(f"family.{entry.family}"), parameters=size)
    if entry.family == "other":
        first = say("discover.about_other", parameters=size)
    more = [say(f"discover.about_{tag}") for tag in SENTENCES if tag in entry.tags]
    return say("discover.space").join((first, *more))


def licence_words(licence: str) -> str:
    key = f"licence.{licence.lower()}"
    if key in catalogue(language()):
        return say(key)
    return licence or say("models.not_stated")


def thousands(tokens: int) -> str:
    """ "32k": as context lengths are written."""
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)


def hubs_words(offer: Offer) -> str:
    """`Hugging Face · ModelScope`, as short as people say it; a Python package says so."""
    if not offer.sources:
        return say("discover.package")
    return " · ".join(place_words(source.place) for source in offer.sources)


def place_words(place: Place) -> str:
    return NAMES[place]


def form_words(form: Form, offer: Offer | None = None) -> str:
    """The weights or the way of training: "Int4", "LoRA"."""
    if form == "stored":
        return figures.precision(offer.entry.weights) if offer and offer.entry else say("discover.as_published")
    return say(f"discover.form_{form}") if form in ("lora", "qlora") else figures.precision(form)


def badge_words(badge: Badge) -> str:
    return say(f"load.{badge.verdict}")


def reason(badge: Badge, offer: Offer | None = None) -> str:
    """Why it fits or does not, with its numbers."""
    needed, free = figures.size(badge.needed), figures.size(badge.free)
    place = say("discover.on_card" if badge.on_card else "discover.on_machine")
    if badge.form in ("lora", "qlora"):
        what = say("discover.needs_training", form=form_words(badge.form), length=figures.count(badge.context))
    else:
        what = say("discover.needs", form=form_words(badge.form, offer), tokens=figures.count(badge.context))
    return say(f"discover.because_{badge.verdict}", what=what, needed=needed, free=free, place=place)


def offer_weights(offer: Offer) -> str:
    return figures.precision(offer.entry.weights) if offer.entry is not None else "–"


def shortened(error: UserError) -> str:
    """Its first sentence: what happened. The rest stands in the tooltip."""
    whole = str(error)
    end = re.search(r"[.。](\s|$|(?<=。))", whole)
    return whole[: end.end()].strip() if end else whole


def has_answer(error: UserError) -> bool:
    return bool(of_error(error.code))
