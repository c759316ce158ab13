"""Waiting for facts instead of sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import psutil

PATIENCE_S = 30.0  # for a machine that does other things as well; what holds at once is not waited for


async def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Returns once `condition()` holds; TimeoutError otherwise."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def wait_until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> float:
    """The same where no loop runs; returns the seconds it took."""
    begun = time.perf_counter()
    while not condition():
        assert time.perf_counter() - begun < timeout_s
        time.sleep(0.005)
    return time.perf_counter() - begun


def is_dead(pid: int) -> bool:
    """Gone, or only waiting for its new parent to notice."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
