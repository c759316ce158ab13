"""The extremes of a growing array at ever coarser scales, so that any stretch is drawn in the time its pixels take.

Invariant: a bucket of level k holds the least and the greatest of its FAN**k values, gaps (NaN) left aside, and is NaN
where all of them are; so nothing that stands out is lost, however far the view is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
FAN = 4
ROOM = 1024  # a multiple of FAN, and so is every doubling of it
BUCKETS = 16  # of a level, for each column of pixels, at most
TOP = 2048  # values of the coarsest level: no chart is narrow enough to ask for fewer


class Rows:
    """Floats that grow by doubling. Beyond the end stand NaN, so that a last bucket need not be whole."""

    def __init__(self) -> None:
        self.all: Numbers = np.full(ROOM, np.nan)
        self.count = 0

    @property
    def filled(self) -> Numbers:
        return self.all[: self.count]

    def put(self, at: int, values: Numbers) -> None:
        """`values` from `at` on; what stood behind them is gone."""
        end = at + len(values)
        if end > len(self.all):
            grown = np.full(ROOM << (-(-end // ROOM) - 1).bit_length(), np.nan)
            grown[:at] = self.all[:at]
            self.all = grown
        self.all[at:end] = values
        self.all[end : max(end, self.count)] = np.nan
        self.count = end


class Strides:
    """Every n-th step, kept together: to look among a million would touch memory far apart each time."""

    def __init__(self, steps: Rows) -> None:
        self._steps = steps
        self._kept: dict[int, Rows] = {}

    def every(self, bucket: int) -> Numbers:
        if bucket == 1:
            return self._steps.filled
        kept = self._kept.setdefault(bucket, Rows())
        kept.put(kept.count, self._steps.filled[kept.count * bucket :: bucket])
        return kept.filled

    def forget(self) -> None:
        self._kept.clear()


class Envelope(NamedTuple):
    """What is drawn: for each column of pixels the least and the greatest value. Few points are drawn
    as they are: `is_exact`."""

    x: Numbers
    low: Numbers
    high: Numbers
    is_exact: bool


class Cut(NamedTuple):
    """Which points a stretch of steps takes, and which buckets of which level each column of pixels begins with.
    `starts` is None where there are few enough points to be drawn one by one."""

    first: int
    last: int
    level: int
    starts: NDArray[np.int64] | None
    middles: Numbers


def cut(steps: Numbers, strides: Strides, left: float, right: float, columns: int) -> Cut:
    """The points between `left` and `right`, with one more at each side so that lines run to the edge.

    Buckets are not split: where there are many points, an edge may show what lies less than a pixel beyond it.
    """
    first = max(0, int(np.searchsorted(steps, left)) - 1)
    last = min(len(steps), int(np.searchsorted(steps, right, "right")) + 1)
    if last - first <= 2 * columns:
        return Cut(first, last, 0, None, steps[:0])
    level, bucket = 0, 1
    while (last - first) // bucket > max(BUCKETS * columns, TOP):
        level, bucket = level + 1, bucket * FAN
    edges = np.linspace(left, right, columns, endpoint=False)
    coarse = strides.every(bucket)[first // bucket : -(-last // bucket)]
    starts = np.minimum(np.searchsorted(coarse, edges), len(coarse) - 1) + first // bucket
    starts[0] = first // bucket
    kept = np.append(True, np.diff(starts) > 0)
    return Cut(first, last, level, starts[kept], edges[kept] + (right - left) / (2 * columns))


class Pyramid:
    """The levels over one `Rows`, brought up to date when something is asked."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._levels: list[tuple[Rows, Rows]] = []
        self._seen = 0

    def forget(self, at: int) -> None:
        """The values from `at` on are others now."""
        self._seen = min(self._seen, at)

    def envelope(self, steps: Numbers, cut: Cut) -> Envelope:
        """The points of `steps` that `cut` chose."""
        if cut.starts is None:
            values = self._rows.all[cut.first : cut.last]
            return Envelope(steps[cut.first : cut.last], values, values, True)
        self._update()
        lows, highs = self._levels[cut.level - 1] if cut.level else (self._rows, self._rows)
        end = -(-cut.last // FAN**cut.level)
        low, high = np.fmin.reduceat(lows.all[:end], cut.starts), np.fmax.reduceat(highs.all[:end], cut.starts)
        return Envelope(cut.middles, low, high, False)

    def _update(self) -> None:
        start, lows, highs, level = self._seen, self._rows, self._rows, 0
        if start == lows.count and (start <= TOP or self._levels):
            return
        while lows.count > TOP:
            if level == len(self._levels):
                self._levels.append((Rows(), Rows()))
                start = 0
            at, end = start // FAN, -(-lows.count // FAN)
            below, (upper_lows, upper_highs) = slice(at * FAN, end * FAN), self._levels[level]
            upper_lows.put(at, _fold(np.fmin, lows.all[below]))
            upper_highs.put(at, _fold(np.fmax, highs.all[below]))
            start, lows, highs, level = at, upper_lows, upper_highs, level + 1
        del self._levels[level:]
        self._seen = self._rows.count


def _fold(least: np.ufunc, values: Numbers) -> Numbers:
    cells = values.reshape(-1, FAN)
    folded: Numbers = least(least(cells[:, 0], cells[:, 1]), least(cells[:, 2], cells[:, 3]))
    return folded
