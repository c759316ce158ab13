"""The profile worker: measures one cell, or this machine's limits, and is ended after it.

Invariant: where memory runs out, this process is the one that goes: the system is told to end it before anything else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.workers.host import JobControl, WorkerUnusable, serve
from core.errors import UserError
from core.profiling.measure import measure, write_snapshot
from core.protocol.messages import Finished, JobEvent, Progress
from core.protocol.profiling import MachineProbed, ProbeMachine, ProfileCell, SnapshotTaken, TakeSnapshot

SPIN_COUNT = "5000"  # as of the inference worker, so that figures are those of chats

Events = Iterator[JobEvent | None]


def main() -> None:
    """Be the worker until the front says Shutdown or is gone."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    _go_first()
    serve({ProfileCell: profile, ProbeMachine: probe, TakeSnapshot: take_snapshot})
    sys.stderr.flush()
    os._exit(0)  # libraries leave threads that finalisation would tear


def profile(job: ProfileCell, control: JobControl) -> Events:
    with _sorted_errors():
        yield from measure(job, lambda: control.is_cancelled)
    yield Finished(job.job_id, "cancelled" if control.is_cancelled else "stop")


def probe(job: ProbeMachine, control: JobControl) -> Events:
    from core.profiling.probes import probing
    from core.profiling.result import MachineProbe

    yield Progress(job.job_id, 0, stage="loading_libraries")
    with _sorted_errors():
        for step in probing(job.device, job.threads):
            if control.is_cancelled:
                yield Finished(job.job_id, "cancelled")
                return
            if isinstance(step, MachineProbe):
                yield MachineProbed(job.job_id, step)
            else:
                yield Progress(job.job_id, step.done, step.total, step.stage)
    yield Finished(job.job_id)


def take_snapshot(job: TakeSnapshot, control: JobControl) -> Events:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        raise UserError("snapshot_needs_card")
    write_snapshot(Path(job.file))
    yield SnapshotTaken(job.job_id, job.file)
    yield Finished(job.job_id)


def _go_first() -> None:
    with suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


@contextmanager
def _sorted_errors() -> Iterator[None]:
    """Torch's errors as what they are; after one of the card's the process is not to be trusted."""
    try:
        yield
    except RuntimeError as error:
        kind, text = type(error).__name__, str(error)
        if kind == "OutOfMemoryError" or "can't allocate memory" in text:
            raise MemoryError(text) from error
        if kind == "AcceleratorError" or "CUDA error" in text:
            raise WorkerUnusable from error
        raise
