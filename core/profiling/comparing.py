"""Two tables, figure by figure where they measured the same cell.

Invariant: a figure stands here only where both tables have it, and each says in which direction it is better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from core.profiling.plan import Cell
from core.profiling.result import CellResult

Figure = Callable[[CellResult], float | None]

FIGURES: dict[str, Figure] = {
    "prompt_tokens_per_s": lambda r: r.inference.prompt_tokens_per_s if r.inference else None,
    "decode_tokens_per_s": lambda r: r.inference.decode_tokens_per_s if r.inference else None,
    "first_token_s": lambda r: r.inference.first_token_s if r.inference else None,
    "load_s": lambda r: r.load_s or None,
    "step_s": lambda r: r.training.step_s if r.training else None,
    "perplexity": lambda r: r.quality.perplexity if r.quality else None,
    "peak_bytes": lambda r: float(r.peak_bytes) or None,
}
MORE_IS_BETTER = ("prompt_tokens_per_s", "decode_tokens_per_s")


class Change(NamedTuple):
    """ratio: the second over the first."""

    cell: Cell
    figure: str
    first: float
    second: float

    @property
    def ratio(self) -> float:
        return self.second / self.first

    @property
    def gain(self) -> float:
        """Above 1 where the second is better."""
        return self.ratio if self.figure in MORE_IS_BETTER else 1 / self.ratio


def compared(before: Sequence[CellResult], after: Sequence[CellResult]) -> list[Change]:
    others = {result.cell.key: result for result in after}
    found: list[Change] = []
    for one in before:
        other = others.get(one.cell.key)
        for figure, of in FIGURES.items() if other is not None else ():
            first, second = of(one), of(other) if other is not None else None
            if first and second:
                found.append(Change(one.cell, figure, first, second))
    return found
