"""Memory of the card and the system, read while somebody looks, in a thread: drivers may stall."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from core import hardware
from core.hardware import Card, Memory


@dataclass(frozen=True, slots=True)
class Reading:
    """The first card where there is one, else None; all of them; the system's memory always. Bytes."""

    card: Card | None
    memory: Memory
    cards: tuple[Card, ...] = ()


def _read() -> Reading:
    cards, _ = hardware.cards()
    return Reading(cards[0] if cards else None, hardware.system_memory(), tuple(cards))


async def read() -> Reading:
    return await asyncio.to_thread(_read)
