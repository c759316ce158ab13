"""The memory badges of many models at once, against what is free now: of the catalogue, of hubs, of this machine.

Shapes are made in a thread, once for each model; badges are made anew when the free memory has changed by more than
NOTICEABLE. Invariant: what is asked for on the window's thread is there already, or is said to be missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from app.services import badges, discovery, fitting, machine
from app.services.badges import Badge, Form
from app.services.discovery import Look, Offer
from app.services.fitting import Room, Subject
from app.services.installed import Installed
from core.errors import UserError
from core.hub import catalogue
from core.protocol.messages import ModelLoaded
from core.store.records import MeasuredMemory

NOTICEABLE = 0.02  # of the free memory
RUNNING: tuple[Form, ...] = ("stored", "bfloat16", "int8", "int4")

Badges = dict[Form, Badge]


class Estimates:
    """
    Attributes:
        free: what the badges were held against
    """

    def __init__(self) -> None:
        self.free = Room(0)
        self._subjects: dict[str, Subject | None] = {}
        self._badges: dict[str, Badges] = {}
        self._installed: dict[Path, tuple[object, Subject | None]] = {}
        self._changing = asyncio.Lock()

    async def refresh(self, loaded: ModelLoaded | None = None) -> bool:
        """Look at the free memory; whether the badges are others now."""
        async with self._changing:
            free = fitting.room(await machine.read(), loaded)
            if _is_near(free, self.free) and self._badges:
                return False
            found = await asyncio.to_thread(self._all, free)
            self.free = free
            # What a hub was asked about meanwhile.
            missing = set(self._badges) - set(found)
            self._badges = found | {key: badges.badges(s, free) for key in missing if (s := self._subjects[key])}
            return True

    def of(self, offer: Offer) -> Badges:
        """By form; empty where nothing is known of it yet."""
        return self._badges.get(_key(offer), {})

    def subject(self, offer: Offer) -> Subject | None:
        return self._subjects.get(_key(offer))

    def learn(self, look: Look) -> None:
        """What a hub told of a model that the catalogue does not know."""
        if look.subject is not None and _key(look.offer) not in self._badges:
            self._subjects[_key(look.offer)] = look.subject
            self._badges[_key(look.offer)] = badges.badges(look.subject, self.free)

    async def of_installed(self, models: Sequence[Installed]) -> dict[str, Badge]:
        """As each would be loaded where nothing is chosen, by name; those whose files cannot be read are left out."""
        return await asyncio.to_thread(self._of_installed, models)

    def _of_installed(self, models: Sequence[Installed]) -> dict[str, Badge]:
        found = {}
        for model in models:
            if model.manifest.base or (subject := self._installed_subject(model)) is None:
                continue
            found[model.manifest.name] = badges.badges(subject, self.free)[badges.stored_form(subject)]
        return found

    def _installed_subject(self, model: Installed) -> Subject | None:
        state = (model.manifest.added, model.manifest.files)
        kept = self._installed.get(model.folder)
        if kept is None or kept[0] != state:
            try:
                subject = fitting.look_now(model.manifest.name, model.files_folder)
            except (OSError, ValueError, UserError):
                subject = None
            kept = self._installed[model.folder] = state, subject
        return kept[1]

    def _all(self, free: Room) -> dict[str, Badges]:
        for entry in catalogue.entries():
            key = _key(discovery.of_entry(entry))
            if key not in self._subjects:
                self._subjects[key] = discovery.entry_subject(entry)
        known = list(self._subjects.items())
        return {key: badges.badges(subject, free) for key, subject in known if subject is not None}


def best(found: Badges) -> Badge | None:
    """The form to offer: the first of the usual order that fits, else the first that is tight, else as it is stored."""
    running = [found[form] for form in RUNNING if form in found]
    for verdict in ("fits", "tight"):
        for badge in running:
            if badge.verdict == verdict:
                return badge
    return running[0] if running else None


def measured(memory: MeasuredMemory, free: Room) -> Badge:
    """What a model took here, as a badge."""
    on_card = memory.device != "cpu" and bool(free.card)
    room = free.card if on_card else free.memory
    verdict = badges.verdict_of(memory.bytes, room)
    return Badge("stored", verdict, memory.bytes, room, on_card, memory.tokens, ())


def _key(offer: Offer) -> str:
    return offer.id.lower()


def _is_near(one: Room, other: Room) -> bool:
    if len(one.cards) != len(other.cards):
        return False
    pairs = [(one.memory, other.memory), (one.card, other.card)]
    return all(abs(new - old) <= NOTICEABLE * max(old, 1) for new, old in pairs)
