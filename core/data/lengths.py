"""How long the rows are in tokens, how many of those are learned, and what a limit cuts off.

Invariant: up to EXACT_ROWS rows every one is measured; of more, as many at even distances, the same ones each time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from core.data.dataset import Dataset
from core.data.problems import Fault
from core.data.rendered import Rendered, Renderer
from core.data.report import BINS, Lengths
from core.data.steps import Step, Work
from core.errors import UserError

EXACT_ROWS = 20_000
TOLD_EVERY = 16


class Sums:
    """The figures so far."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.counted = self.tokens = self.learned = self.longest = self.longest_row = 0
        self.cut_rows = self.cut_tokens = self.cut_learned = self.lost_rows = 0
        self.histogram = [0] * (len(BINS) + 1)

    def add(self, row: int, rendered: Rendered) -> None:
        count, learned = len(rendered.ids), sum(rendered.learned)
        self.counted += 1
        self.tokens += count
        self.learned += learned
        self.histogram[bisect_left(BINS, count)] += 1
        if count > self.longest:
            self.longest, self.longest_row = count, row + 1
        if self._limit and count > self._limit:
            kept = sum(rendered.learned[: self._limit])
            self.cut_rows += 1
            self.cut_tokens += count - self._limit
            self.cut_learned += learned - kept
            self.lost_rows += kept == 0


def measured(
    data: Dataset, usable: array[int], renderer: Renderer, limit: int
) -> Work[tuple[Lengths, list[tuple[int, Fault]]]]:
    """The figures, and the rows the template refuses."""
    rows = sample(usable)
    sums, refused = Sums(limit), list[tuple[int, Fault]]()
    for done, row in enumerate(rows):
        example = data.read(row).example
        if example is None:  # it was usable a moment ago
            raise UserError("data_changed", file=str(data.path))
        try:
            sums.add(row, renderer.render(example))
        except UserError as error:
            refused.append((row, Fault(error.code, dict(error.params))))
        if done % TOLD_EVERY == 0:
            yield Step("counting_tokens", done, len(rows), "rows")
    return _lengths(sums, limit, renderer, len(usable) / len(rows) if rows else 1.0), refused


def sample(usable: array[int], most: int = EXACT_ROWS) -> array[int]:
    if len(usable) <= most:
        return usable
    return array("Q", (usable[place * len(usable) // most] for place in range(most)))


def _lengths(sums: Sums, limit: int, renderer: Renderer, scale: float) -> Lengths:
    return Lengths(
        mask=renderer.mask, limit=limit, counted=sums.counted,
        tokens=round(sums.tokens * scale), learned=round(sums.learned * scale),
        histogram=tuple(round(count * scale) for count in sums.histogram),
        longest=sums.longest, longest_row=sums.longest_row,
        cut_rows=round(sums.cut_rows * scale), cut_tokens=round(sums.cut_tokens * scale),
        lost_rows=round(sums.lost_rows * scale),
        cut_learned=sums.cut_learned / sums.learned if sums.learned else 0.0,
    )  # fmt: skip
