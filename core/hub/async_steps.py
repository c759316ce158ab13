"""Runs an asynchronous stream of steps inside a generator, so that waiting for the network never delays a cancel.

Invariant: between two looks at the caller pass at most POLL_S seconds; closing the generator ends the stream, with its
connections, before it returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from core.models.steps import POLL_S, Step, Work


def driven(stream: AsyncGenerator[Step, None]) -> Work[None]:
    """The steps of `stream`, and None while there is no new one."""
    with asyncio.Runner() as runner:
        pending: asyncio.Task[Step | None] | None = None
        try:
            while True:
                pending = runner.get_loop().create_task(_next(stream))
                while not runner.run(_is_done(pending)):
                    yield None
                if (step := pending.result()) is None:
                    return
                yield step
        finally:
            runner.run(_end(pending, stream))


async def _next(stream: AsyncGenerator[Step, None]) -> Step | None:
    return await anext(stream, None)


async def _is_done(task: asyncio.Task[Step | None]) -> bool:
    done, _ = await asyncio.wait({task}, timeout=POLL_S)
    return bool(done)


async def _end(pending: asyncio.Task[Step | None] | None, stream: AsyncGenerator[Step, None]) -> None:
    if pending is not None and not pending.done():
        pending.cancel()
        await asyncio.wait({pending})
    await stream.aclose()
