"""How long the rest of a table will take, from what its cells took so far.

Invariant: it is told from cells that were measured, in proportion to the work each asks for; never from a guess of the
machine's speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from core.profiling.plan import Cell
from core.profiling.result import CellResult

START = 60.0  # what starting and loading is, in tokens of the same model
PROMPT = 0.15  # a token that is read, of one that is decoded
TRAINED = 1.5
QUALITY_TOKENS = 600.0


def left(cells: Sequence[Cell], results: Mapping[str, CellResult], parameters: Mapping[str, int]) -> float | None:
    """Seconds; None while nothing was measured. results: by Cell.key; parameters: of each subject, by its name"""
    measured = [result for result in results.values() if result.state == "done" and result.seconds]
    if not measured:
        return None
    rates = {True: _rate(measured, parameters, True), False: _rate(measured, parameters, False)}
    rest = [cell for cell in cells if cell.key not in results]
    each = {kind: rate or rates[not kind] or 0.0 for kind, rate in rates.items()}
    return sum(each[cell.kind == "training"] * _work(cell, parameters) for cell in rest)


def _rate(measured: Iterable[CellResult], parameters: Mapping[str, int], is_training: bool) -> float | None:
    found = [result.seconds / _work(result.cell, parameters) for result in measured
             if (result.cell.kind == "training") == is_training]  # fmt: skip
    return median(found) if found else None


def _work(cell: Cell, parameters: Mapping[str, int]) -> float:
    """In tokens times parameters."""
    if (case := cell.case) is not None:
        steps = case.new * (1 + 0.1 * (case.batch - 1))  # in a batch they share the weights
        tokens = (cell.repeats + 1) * (steps + PROMPT * case.prompt * case.batch)
    elif (work := cell.training) is not None:
        tokens = TRAINED * (cell.repeats + 1) * work.length * work.accumulate
    else:
        tokens = QUALITY_TOKENS
    return (START + tokens) * max(1, parameters.get(cell.subject.name, 1))
