"""Two tables, figure by figure where they measured the same cell.

Invariant: a figure stands here only where both tables measured its cell to the end, and each says in which direction it
is better, or that it is the same: within what two runs usually differ by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from core.profiling.plan import Cell
from core.profiling.result import CellResult

NOISE = 0.03  # of a figure
Verdict = Literal["better", "worse", "same"]
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

    @property
    def verdict(self) -> Verdict:
        if abs(self.ratio - 1) < NOISE:
            return "same"
        return "better" if self.gain > 1 else "worse"


def compared(before: Sequence[CellResult], after: Sequence[CellResult]) -> list[Change]:
    """Of a cell that broke off nothing can be said: what it took until then is no figure of it."""
    others = {result.cell.key: result for result in after if result.state == "done"}
    found: list[Change] = []
    for one in before:
        other = others.get(one.cell.key) if one.state == "done" else None
        for figure, of in FIGURES.items() if other is not None else ():
            first, second = of(one), of(other) if other is not None else None
            if first and second:
                found.append(Change(one.cell, figure, first, second))
    return found
