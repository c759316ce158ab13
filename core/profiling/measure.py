"""One cell, from its job to its result: the events of the profile worker.

Invariant: a cell is measured with what a chat is answered with (the same loader, choice of decoder and engine), and
what is told of its memory began with the process. One cell a process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import msgspec

from core.profiling.plan import Cell
from core.profiling.recorder import Recorder
from core.profiling.result import CellResult
from core.protocol.messages import JobEvent, Progress
from core.protocol.profiling import CellMeasured, MemorySampled, ProfileCell

TOLD_EVERY_S = 0.25
CARD_KEPT_FREE = 0.02  # of the card's memory


@dataclass(frozen=True, slots=True)
class Step:
    """How far a cell is: `progress.<stage>` of the catalogue, and `done` of `total`, 0 where that is not known."""

    stage: str
    done: int = 0
    total: int = 0
    unit: Literal["tokens", "steps"] = "steps"


# Gives the steps of a cell, the fields of its result as soon as they are known, and None now and then.
Measuring = Iterator[Step | dict[str, Any] | None]


def measure(job: ProfileCell, is_cancelled: Callable[[], bool]) -> Iterator[JobEvent | None]:
    """Progress and MemorySampled while it works, and one CellMeasured unless it is cancelled.

    Raises:
        UserError: whatever loading says; profile_batch_kv, profile_random_nf4.
        MemoryError, or torch's own: the cell ran out of memory.
    """
    cell, known, due = job.cell, dict[str, Any](), 0.0
    began = time.perf_counter()
    with Recorder(Path(cell.subject.folder) if cell.subject.folder else None) as recorder:
        for step in _measuring(cell, recorder):
            if is_cancelled():
                return
            if isinstance(step, dict):
                known |= step
                continue
            if (now := time.monotonic()) < due and (step is None or step.done != step.total):
                yield None
                continue
            due = now + TOLD_EVERY_S
            if step is not None:
                yield Progress(job.job_id, step.done, step.total or None, step.stage, step.unit)
            yield MemorySampled(job.job_id, *recorder.take())
        recorder.finish()
        taken = _snapshot(job.snapshot) if job.snapshot else ""
        yield MemorySampled(job.job_id, *recorder.take())
        result = CellResult(
            cell=cell,
            state="done",
            measured_at=datetime.now(UTC),
            seconds=time.perf_counter() - began,
            memory=recorder.phases,
            peak_bytes=recorder.peak_bytes,
            card_peak_bytes=recorder.card_peak_bytes,
            context_bytes=recorder.context_bytes,
            power_w=recorder.power_w,
            timeline=recorder.timeline,
            snapshot=taken,
        )
    yield CellMeasured(job.job_id, msgspec.structs.replace(result, **known))


def _measuring(cell: Cell, recorder: Recorder) -> Measuring:
    yield Step("loading_libraries")
    work = import_module(f"core.profiling.{cell.kind}")
    import torch

    torch.set_num_threads(cell.threads or torch.get_num_threads())
    if cell.device != "cpu" and torch.cuda.is_available():
        recorder.on_card()
        _leave_some_of_the_card()
        if cell.snapshot:
            torch.cuda.memory._record_memory_history()
    yield from work.measured(cell, recorder)


def _leave_some_of_the_card() -> None:
    """Where an estimate was wrong, PyTorch says that memory ran out before others on the card are short of it."""
    import torch

    free, whole = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(max(0.01, (free - CARD_KEPT_FREE * whole) / whole))


def _snapshot(file: str) -> str:
    """What the allocator of the card holds and held; "" on a processor, where a whole table asks for it in vain."""
    import torch

    if not torch.cuda.is_available():
        return ""
    write_snapshot(Path(file))
    return file


def write_snapshot(file: Path) -> None:
    """For pytorch.org/memory_viz. Whole or not at all."""
    import torch

    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    torch.cuda.memory._dump_snapshot(str(part))  # type: ignore[no-untyped-call]
    part.replace(file)
