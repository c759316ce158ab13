"""The real profile worker in its own process: one cell, its timeline, and what it refuses."""

from __future__ import annotations

import pytest

from app.launch import worker_argv
from app.supervisor import WorkerSupervisor
from core.profiling import shapes
from core.profiling.plan import Case, Cell
from core.protocol.messages import Failed, Finished, JobEvent
from core.protocol.profiling import CellMeasured, MemorySampled, ProfileCell, TakeSnapshot

pytestmark = pytest.mark.loops("asyncio")


async def test_a_cell_is_measured_from_the_start_of_the_process() -> None:
    cell = Cell(shapes.named("tiny"), "float32", case=Case(6, 5), repeats=1, threads=1, device="cpu")
    process = WorkerSupervisor("profile", worker_argv("profile"))
    async with process:
        refused = [event async for event in process.run(TakeSnapshot("s", "/nowhere/snapshot.pickle"))]
        assert isinstance(refused[-1], Failed) and refused[-1].code == "snapshot_needs_card"
        events: list[JobEvent] = [event async for event in process.run(ProfileCell("j", cell))]
    assert events[-1] == Finished("j")
    measured = next(event.result for event in events if isinstance(event, CellMeasured))
    assert measured.inference is not None and measured.inference.decode_tokens_per_s > 0
    marks = [mark for event in events if isinstance(event, MemorySampled) for mark in event.marks]
    assert tuple(marks) == measured.timeline.marks and marks[0].phase == "libraries"
    first, peak = measured.timeline.samples[0].own, measured.peak_bytes
    assert first < 100_000_000 < peak, "the process was fresh: no library was in its memory"
