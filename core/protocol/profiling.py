"""The part of the protocol that measures: jobs and events of the profile worker. See messages.py.

Each process takes one job and is ended after it, so that no cell sees what another one left behind.
"""

from __future__ import annotations

from msgspec import Struct

from core.profiling.plan import Cell
from core.profiling.result import CellResult, MachineProbe
from core.profiling.timeline import MemorySample, PhaseMark
from core.protocol.job import Job


class ProfileCell(Job, frozen=True, tag=True):
    """Measure one cell; answered by Progress, MemorySampled and one CellMeasured.

    The result has neither command nor estimate nor shares of the machine's limits: these are the front's to know.
    snapshot: the file for PyTorch's allocator, "" for none
    """

    cell: Cell
    snapshot: str = ""


class ProbeMachine(Job, frozen=True, tag=True):
    """Measure what this machine can do at most; answered by Progress and MachineProbed."""

    device: str = "auto"
    threads: int = 0


class TakeSnapshot(Job, frozen=True, tag=True):
    """Write what PyTorch's allocator holds now to `file`, while another job of this worker runs; answered by
    SnapshotTaken, or refused with `snapshot_needs_card`."""

    file: str


class MemorySampled(Struct, frozen=True, tag=True):
    """What has come to the timeline since the last time."""

    job_id: str
    samples: tuple[MemorySample, ...] = ()
    marks: tuple[PhaseMark, ...] = ()


class CellMeasured(Struct, frozen=True, tag=True):
    job_id: str
    result: CellResult


class MachineProbed(Struct, frozen=True, tag=True):
    job_id: str
    probe: MachineProbe


class SnapshotTaken(Struct, frozen=True, tag=True):
    job_id: str
    file: str


ProfileJob = ProfileCell | ProbeMachine | TakeSnapshot
ProfileEvent = MemorySampled | CellMeasured | MachineProbed | SnapshotTaken
