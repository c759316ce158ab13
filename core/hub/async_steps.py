"""Waits for the network inside a generator of steps, so that waiting never delays a cancel.

Invariant: between two looks at the caller pass at most POLL_S seconds; closing the generator ends what was waited for,
with its connections, before it returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from core.models.steps import POLL_S, T, Work


def awaited(work: Coroutine[Any, Any, T]) -> Work[T]:
    """The result of `work`, and None while there is none."""
    with asyncio.Runner() as runner:
        task = runner.get_loop().create_task(work)
        try:
            while not runner.run(_is_done(task)):
                yield None
            return task.result()
        finally:
            task.cancel()
            runner.run(_ended(task))


async def _is_done(task: asyncio.Task[T]) -> bool:
    done, _ = await asyncio.wait({task}, timeout=POLL_S)
    return bool(done)


async def _ended(task: asyncio.Task[T]) -> None:
    await asyncio.wait({task})
