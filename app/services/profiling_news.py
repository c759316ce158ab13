"""What the profiling service tells while it measures a table, as values."""

from __future__ import annotations

from dataclasses import dataclass

from core.profiling.plan import Cell
from core.profiling.result import CellResult, Estimate, MachineProbe
from core.profiling.timeline import MemorySample, PhaseMark
from core.protocol.messages import Progress
from core.store.records import ProfileRun, ProfileState


@dataclass(frozen=True, slots=True)
class TableBegan:
    """results: of the cells that were measured before, when an interrupted table is gone on with."""

    run: ProfileRun
    cells: tuple[Cell, ...]
    results: tuple[CellResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeBegan:
    """The machine's own limits are measured; once, before the first table."""

    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    probe: MachineProbe


@dataclass(frozen=True, slots=True)
class CellBegan:
    """left_s: for the whole of the table, None while there is nothing to tell it from."""

    index: int
    cell: Cell
    estimate: Estimate | None
    left_s: float | None


@dataclass(frozen=True, slots=True)
class CellMoved:
    """How far the cell is, and what has come to its timeline. Either may be missing."""

    index: int
    progress: Progress | None = None
    samples: tuple[MemorySample, ...] = ()
    marks: tuple[PhaseMark, ...] = ()


@dataclass(frozen=True, slots=True)
class CellEnded:
    """It is in the store already."""

    index: int
    result: CellResult
    measured: int
    left_s: float | None


@dataclass(frozen=True, slots=True)
class TableEnded:
    run: ProfileRun
    state: ProfileState


News = TableBegan | ProbeBegan | Probed | CellBegan | CellMoved | CellEnded | TableEnded
