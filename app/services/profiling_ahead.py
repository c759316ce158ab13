"""A table before it is run: what each cell would take, which will not be run and why, and how long the others take.

Reads files, so it is asked in a thread. Invariant: nothing is said of time but from what was measured on this machine,
and no time is reckoned for a cell that will not be run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import hardware
from core.errors import UserError
from core.profiling import estimating, learning, time_left
from core.profiling import machine as here
from core.profiling.plan import Cell
from core.profiling.result import CellResult, Estimate


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A cell before it is run. obstacle: why it will not be, as a sentence; "" for one that will."""

    cell: Cell
    estimate: Estimate | None
    free_bytes: int
    obstacle: str = ""


def foresee(cells: Sequence[Cell]) -> list[Foreseen]:
    """
    Raises:
        UserError: a subject cannot be read.
    """
    (cards, _), memory = hardware.cards(), hardware.system_memory()
    subjects = {cell.subject.name: cell.subject for cell in cells}
    shapes = {name: estimating.shape_of_subject(subject) for name, subject in subjects.items()}
    learned, found = learning.known(), list[Foreseen]()
    for cell in cells:
        on_card = bool(cards) and here.runs_on_card(cell.device)
        there = cards[0].memory if on_card else memory
        wanted = estimating.estimate(cell, shapes[cell.subject.name], "cuda" if on_card else "cpu", there.free, learned)
        why = estimating.obstacle(cell, wanted, there.free, there.total)
        found.append(Foreseen(cell, wanted, there.free, str(UserError(why[0], **why[1])) if why else ""))
    return found


def expected(cells: Sequence[Cell], earlier: Sequence[CellResult]) -> float | None:
    """Seconds of cells that will be run, from earlier results on this device; None where those say nothing.

    Raises:
        UserError: a subject cannot be read.
    """
    subjects = {cell.subject.name: cell.subject for cell in cells}
    sizes = {name: estimating.shape_of_subject(subject).parameters for name, subject in subjects.items()}
    return from_earlier(cells, earlier, sizes)


def from_earlier(cells: Sequence[Cell], earlier: Sequence[CellResult], parameters: Mapping[str, int]) -> float | None:
    """The same for who knows the parameters of each subject, by its name."""
    sizes = dict(parameters)
    sizes |= {r.cell.subject.name: r.inference.parameters for r in earlier if r.inference and r.inference.parameters}
    known = [result for result in earlier if result.cell.subject.name in sizes]
    return time_left.foreseen(cells, known, sizes)
