"""Who the graphics cards belong to: to one job of this program at a time, whichever window or command started it.

Owns cards/<card>.json in the home, a Holder each. Invariant: a card has one living holder at the most. What a holder
leaves behind holds nothing: it is known by its pid and the time that process started, as whoever streams a reply is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from app.services import machine
from core import figures, hardware, paths
from core.errors import UserError
from core.files import replace_file
from core.store import owner

log = logging.getLogger("cards")

LOCK_S = 10.0
FREE_S, LOOK_S = 10.0, 0.1  # until a card shows the memory of a process that has ended as free


class Holder(Struct, frozen=True):
    """what: it does with the card; name: of its model or run; bytes: about so many it takes, 0 where nobody knows

    pid, started: of the process that has the memory, or will have it; job: a run's folder, whose next process may
    begin while the last one is on its way out
    """

    what: Literal["chat", "training"]
    name: str
    pid: int
    started: float
    bytes: int = 0
    job: str = ""

    @property
    def is_alive(self) -> bool:
        return owner.is_alive(self.pid, self.started)


def held_by_process(what: Literal["chat", "training"], name: str, pid: int, size: int = 0, job: str = "") -> Holder:
    return Holder(what, name, pid, owner.started(pid), size, job)


class GpuLease:
    """All of it reads and writes files: from a loop, in a thread."""

    def __init__(self, cards: Callable[[], Sequence[str]] = lambda: hardware.usable_cards()) -> None:
        """cards: those that jobs of this process compute on, none where it is the processor"""
        self._cards = cards

    def cards(self, count: int = 1) -> tuple[str, ...]:
        """The first so many of them."""
        return tuple(self._cards())[:count]

    def holder(self, card: str) -> Holder | None:
        """None where nobody that lives has it."""
        try:
            found = msgspec.json.decode(_file(card).read_bytes(), type=Holder)
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.is_alive else None

    def need(self, cards: Sequence[str], pid: int = 0) -> None:
        """
        Raises:
            UserError: gpu_in_use_chat, gpu_in_use_training: another process than `pid` has one of them.
        """
        for card in cards:
            found = self.holder(card)
            if found is not None and found.pid != pid:
                size = found.bytes or _used(card)
                raise UserError(f"gpu_in_use_{found.what}", name=found.name, size=figures.size(size), pid=found.pid)

    def take(self, cards: Sequence[str], holder: Holder, instead_of: int = 0) -> None:
        """All of them or none; a card that the process already has is noted anew. instead_of: the pid that hands over

        Raises:
            UserError: as need.
        """
        if not cards:
            return
        try:
            self._take(cards, holder, instead_of)
        except OSError as error:  # a full disk keeps nobody from a card
            log.warning("who has the card could not be noted: %s", error)

    def _take(self, cards: Sequence[str], holder: Holder, instead_of: int) -> None:
        from filelock import FileLock  # not at the start of a window

        paths.cards().mkdir(parents=True, exist_ok=True)
        with FileLock(paths.cards() / ".lock", timeout=LOCK_S):
            for card in cards:
                found = self.holder(card)
                is_ours = found is not None and (found.pid == instead_of or (found.job and found.job == holder.job))
                if not is_ours:
                    self.need([card], holder.pid)
            for card in cards:
                replace_file(_file(card), msgspec.json.encode(holder))

    def give_back(self, pid: int) -> None:
        """Whatever this process has. One that ends need not ask."""
        for file in paths.cards().glob("*.json"):
            found = self.holder(file.stem)
            if found is not None and found.pid == pid:
                with contextlib.suppress(OSError):
                    file.unlink()


async def until_free(needed: int) -> bool:
    """Whether the first card has so many bytes free, waiting a while: a driver gives them back after the process."""
    loop = asyncio.get_running_loop()
    end = loop.time() + FREE_S
    while (card := (await machine.read()).card) is not None and card.memory.free < needed:
        if loop.time() > end:
            return False
        await asyncio.sleep(LOOK_S)
    return True


def _file(card: str) -> Path:
    return paths.cards() / f"{re.sub(r'[^0-9A-Za-z-]', '_', card)}.json"


def _used(card: str) -> int:
    """Of a card by its number, as its driver says."""
    there, _ = hardware.cards()
    return there[int(card)].memory.used if card.isdecimal() and int(card) < len(there) else 0
