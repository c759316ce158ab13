"""One quantity over the steps of a run: what was measured, smoothed, and both as what a few hundred pixels can show.

Invariant: steps strictly increase. A run that goes on from an earlier checkpoint repeats steps: what comes later
replaces what stood from there on. What no scale can show (infinities) is a gap, NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from app.ui.widgets.chart.pyramid import Cut, Envelope, Numbers, Pyramid, Rows, Strides, cut
from app.ui.widgets.chart.smoothing import Smoothing

Points = Sequence[tuple[float, float | None]] | Numbers


class Point(NamedTuple):
    step: float
    value: float


class Series:
    """Grows at its end; takes a million points and more."""

    def __init__(self) -> None:
        self._steps, self._values = Rows(), Rows()
        self._pyramid, self._strides = Pyramid(self._values), Strides(self._steps)
        self._smoothed = Smoothing(self._values, 0.0)
        self._next: Smoothing | None = None
        self._found: tuple[tuple[int, float, float, int], Cut] | None = None

    def __len__(self) -> int:
        return self._steps.count

    @property
    def steps(self) -> Numbers:
        return self._steps.filled

    @property
    def values(self) -> Numbers:
        return self._values.filled

    def extend(self, points: Points) -> None:
        """Pairs of step and value; None and NaN are gaps."""
        pairs = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        pairs = pairs[np.isfinite(pairs[:, 0])]
        breaks = np.flatnonzero(np.diff(pairs[:, 0]) <= 0) + 1
        for part in np.split(pairs, breaks) if len(breaks) else (pairs,):
            if len(part):
                self._append(part[:, 0], part[:, 1])

    def _append(self, steps: Numbers, values: Numbers) -> None:
        at = len(self)
        if at and steps[0] <= self._steps.all[at - 1]:
            at = int(np.searchsorted(self.steps, steps[0]))
            self._drop(at)
        self._steps.put(at, steps)
        self._values.put(at, np.where(np.isfinite(values), values, np.nan))

    def _drop(self, at: int) -> None:
        self._pyramid.forget(at)
        self._strides.forget()
        self._smoothed = Smoothing(self._values, (self._next or self._smoothed).weight)
        self._next = self._found = None

    # --- smoothing -------------------------------------------------------------------

    def smooth(self, weight: float) -> None:
        """Another weight, 0 (none) to below 1. The line of before is shown until `refine` has made this one."""
        if weight != (self._next or self._smoothed).weight:
            self._next = Smoothing(self._values, weight)

    def refine(self, most: int) -> int:
        """Smooth at most `most` further values; how many are left of `most`."""
        target = self._next or self._smoothed
        if target.is_done or most <= 0:
            return most
        left = most - target.advance(most)
        if self._next is not None and self._next.is_done:
            self._smoothed, self._next = self._next, None
        return left

    @property
    def is_refined(self) -> bool:
        return self._next is None and self._smoothed.is_done

    # --- what is shown ---------------------------------------------------------------

    def envelope(self, left: float, right: float, columns: int) -> Envelope:
        return self._pyramid.envelope(self.steps, self._cut_to(len(self), left, right, columns))

    def smoothed_envelope(self, left: float, right: float, columns: int) -> Envelope:
        rows = self._smoothed.rows
        found = self._cut_to(rows.count, left, right, columns)
        return self._smoothed.pyramid.envelope(self._steps.all[: rows.count], found)

    def _cut_to(self, count: int, left: float, right: float, columns: int) -> Cut:
        """The same for both kinds of values; found once."""
        key = (count, left, right, columns)
        if self._found is None or self._found[0] != key:
            self._found = key, cut(self._steps.all[:count], self._strides, left, right, columns)
        return self._found[1]

    def near(self, step: float) -> int:
        """Index of the point nearest to `step`; -1 while there is none."""
        steps, at = self.steps, int(np.searchsorted(self.steps, step))
        if at and (at == len(steps) or step - steps[at - 1] <= steps[at] - step):
            at -= 1
        return at if len(steps) else -1

    def at(self, index: int) -> Point:
        return Point(float(self._steps.all[index]), float(self._values.all[index]))

    def smoothed_at(self, index: int) -> float:
        rows = self._smoothed.rows
        return float(rows.all[index]) if index < rows.count else float("nan")
