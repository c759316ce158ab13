"""A supervisor with the misbehaving worker behind it."""

from __future__ import annotations

from collections.abc import Callable

from app.supervisor import WorkerSupervisor
from core.protocol.messages import Failed, Finished, Generate, JobEvent
from tests.helpers.fake_worker import ARGV


def worker(*, grace_s: float = 3.0, on_change: Callable[[], None] = lambda: None) -> WorkerSupervisor:
    return WorkerSupervisor("inference", ARGV, grace_s=grace_s, on_change=on_change)


async def collect(supervisor: WorkerSupervisor, job: Generate) -> list[JobEvent]:
    return [event async for event in supervisor.run(job)]


def ends(events: list[JobEvent]) -> list[JobEvent]:
    return [event for event in events if isinstance(event, Finished | Failed)]


def pid(supervisor: WorkerSupervisor) -> int:
    assert supervisor._link and supervisor._link._transport
    found = supervisor._link._transport.get_pid()
    assert found is not None
    return found
