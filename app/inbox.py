"""The unread events of one job, between the callback that reads the pipe and the coroutine that reads the job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from core.protocol.messages import JobEvent


class Inbox:
    """Batches in, batches out, in order; a batch is what one read of the pipe held for this job.

    Attributes:
        unread: events put in and not yet taken out
        is_hungry: its reader waits for more
    """

    def __init__(self, on_taking: Callable[[], None]) -> None:
        self._on_taking = on_taking
        self.unread = 0
        self.is_hungry = False
        self._is_left = False
        self._batches: asyncio.Queue[list[JobEvent]] = asyncio.Queue()

    def put(self, batch: list[JobEvent]) -> None:
        """Nothing is kept for a reader who has left."""
        if not self._is_left:
            self.is_hungry = False
            self.unread += len(batch)
            self._batches.put_nowait(batch)

    async def take(self) -> list[JobEvent]:
        """The next batch; `on_taking` hears of it before the wait."""
        self.is_hungry = self._batches.empty()
        self._on_taking()
        batch = await self._batches.get()
        self.unread -= len(batch)
        return batch

    def leave(self) -> None:
        """The reader goes: what is here and what is still to come is dropped."""
        self._is_left = True
        self.is_hungry = False
        self.unread = 0
