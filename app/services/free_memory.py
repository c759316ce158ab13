"""How much of the system's memory was free in the last seconds: what tells a process the system had to end for want of
memory from one that somebody killed.

Invariant: the reading that counts is from before the end, since afterwards the memory is free again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self

from core import hardware
from core.hardware import Memory
from core.profiling.estimating import HEADROOM

EVERY_S = 0.25
KEPT = 20  # readings


class FreeMemory:
    """`async with FreeMemory() as memory:` reads it as long as the block lasts; `memory.lowest` is from the last few
    seconds, `memory.was_short` whether that was little."""

    def __init__(self) -> None:
        self._readings: deque[Memory] = deque([hardware.system_memory()], KEPT)
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reading = asyncio.get_running_loop().create_task(self._read(), name="free memory")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reading is not None
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            self._readings.append(await asyncio.to_thread(hardware.system_memory))

    @property
    def lowest(self) -> Memory:
        return min(self._readings, key=lambda one: one.free)

    @property
    def was_short(self) -> bool:
        """By no more than what an estimate leaves free: a process that takes it needs less than a moment for that."""
        return self.lowest.free < HEADROOM * self.lowest.total
