"""Who streams into a message, or has a card: a process, known by its pid and the time it started.

Invariant: a living owner is never taken for dead; pids come again, so the start time decides.
"""

from __future__ import annotations

from functools import lru_cache

import psutil

CLOCK_SLACK_S = 2.0  # the start time is counted from boot, which shifts when the clock is set


@lru_cache(maxsize=1)
def here() -> tuple[int, float]:
    """Pid and start time (seconds since 1970) of this process."""
    process = psutil.Process()
    return process.pid, process.create_time()


def started(pid: int) -> float:
    """When that process started, 0 where there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def is_alive(pid: int | None, started: float | None) -> bool:
    """Whether the process that was `pid` when it wrote `started` still runs."""
    if pid is None or started is None:
        return False
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) <= CLOCK_SLACK_S
    except psutil.NoSuchProcess:
        return False
