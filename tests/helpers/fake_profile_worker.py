"""A profile worker that measures nothing: what becomes of a cell is chosen by the form of its weights.

bfloat16, float32, auto: a result at once; int8: it crashes; int4: memory runs out; float16: somebody kills it; nf4: it
ends itself, for the memory is nearly gone. A cell of HANGS new tokens hangs and hears nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from app.workers.host import JobControl, serve
from core.profiling.machine import this_machine, versions
from core.profiling.plan import Cell
from core.profiling.result import NO_MEMORY, CellResult, InferenceFigures, MachineProbe, Rate
from core.profiling.timeline import MemorySample, MemoryTimeline, PhaseMark
from core.protocol.messages import Finished, JobEvent, Progress
from core.protocol.profiling import CellMeasured, MachineProbed, MemorySampled, ProbeMachine, ProfileCell

ARGV = [sys.executable, str(Path(__file__).resolve())]
HANGS = 13
SAMPLES = (MemorySample(0.1, 200, 100), MemorySample(0.2, 500, 400))
MARKS = (PhaseMark(0.0, "load"), PhaseMark(0.15, "decode", 1))


def result(cell: Cell, speed: float = 50.0, peak: int = 400_000_000) -> CellResult:
    assert cell.case is not None
    figures = InferenceFigures(
        cell.case.prompt, cell.case.new, 0.1, 1000.0, 0.12, speed, 0.02, 0.03, speed * 0.9, cell.repeats, device="cpu"
    )
    return CellResult(
        cell, "done", datetime.now(UTC), inference=figures, load_s=1.0, peak_bytes=peak,
        timeline=MemoryTimeline(SAMPLES, MARKS), seconds=2.0,
    )  # fmt: skip


def profile(job: ProfileCell, control: JobControl) -> Iterator[JobEvent | None]:
    yield Progress(job.job_id, 1, 2, "profile_round", "tokens")
    yield MemorySampled(job.job_id, SAMPLES, MARKS)
    if job.cell.case and job.cell.case.new == HANGS:
        time.sleep(60)
    match job.cell.weights:
        case "int8":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "int4":
            raise MemoryError
        case "float16":
            os.kill(os.getpid(), signal.SIGKILL)
        case "nf4":
            os._exit(NO_MEMORY)
    yield CellMeasured(job.job_id, result(job.cell))
    yield Finished(job.job_id)


def probe(job: ProbeMachine, control: JobControl) -> Iterator[JobEvent | None]:
    rates = [Rate(value, "read_processor", {"size": "1 MB", "tries": 1}) for value in (2e10, 1e10, 1e11, 2e11)]
    yield Progress(job.job_id, 0, 4, "probing")
    yield MachineProbed(job.job_id, MachineProbe(this_machine(), "cpu", 1, datetime.now(UTC), versions(), *rates))
    yield Finished(job.job_id)


if __name__ == "__main__":
    serve({ProfileCell: profile, ProbeMachine: probe})
