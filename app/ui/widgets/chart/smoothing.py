"""Exponential smoothing of a growing array, a piece at a time.

Invariant: the result is that of the plain recursion s = w*s + (1-w)*x, divided by 1 - w**n for the n values so far, so
that the first ones are not drawn to zero; gaps (NaN) stay gaps and change nothing after them.
"""

from __future__ import annotations

import math

import numpy as np

from app.ui.widgets.chart.pyramid import Numbers, Pyramid, Rows

BLOCK = 32
FITTING = ((500, 0.95), (200, 0.9), (60, 0.8), (20, 0.6))  # from so many values on


def fitting(count: int) -> float:
    """The weight for so many values: the line shall end near the last ones, so few are not smoothed at all."""
    return next((weight for least, weight in FITTING if count >= least), 0.0)


class Smoothing:
    """The smoothed values of `source`, as far as `advance` has come."""

    def __init__(self, source: Rows, weight: float) -> None:
        self.weight = weight
        self.rows = Rows()
        self.pyramid = Pyramid(self.rows)
        self._source = source
        self._sum = 0.0
        self._seen = 0  # values so far, gaps left aside

    @property
    def is_done(self) -> bool:
        return self.rows.count == self._source.count

    def advance(self, most: int) -> int:
        """Smooth at most `most` further values; how many they were."""
        at = self.rows.count
        values = self._source.all[at : min(at + most, self._source.count)]
        known = np.isfinite(values)
        whole = np.full(len(values), np.nan)
        whole[known] = self._smooth(values[known])
        self.rows.put(at, whole)
        return len(values)

    def _smooth(self, values: Numbers) -> Numbers:
        if not len(values):
            return values
        sums = recursion((1 - self.weight) * values, self.weight, self._sum)
        self._sum = float(sums[-1])
        shares = self._shares(len(values))
        sums[: len(shares)] /= shares
        self._seen += len(values)
        return sums

    def _shares(self, count: int) -> Numbers:
        """1 - w**n of the next values, up to where it is 1."""
        if not self.weight:
            return np.ones(0)
        end = min(count, max(0, math.ceil(math.log(1e-17) / math.log(self.weight)) - self._seen))
        shares: Numbers = 1 - self.weight ** np.arange(self._seen + 1, self._seen + end + 1, dtype=np.float64)
        return shares


def recursion(values: Numbers, weight: float, before: float) -> Numbers:
    """s[i] = weight * s[i-1] + values[i], in blocks: within one by a matrix, from one to the next by the same again."""
    count = len(values)
    blocks = np.zeros((-(-count // BLOCK), BLOCK))
    blocks.reshape(-1)[:count] = values
    away = np.arange(BLOCK)[None, :] - np.arange(BLOCK)[:, None]
    within = blocks @ np.where(away >= 0, weight ** np.maximum(away, 0), 0.0)
    carried = np.empty(len(within))
    carried[0] = before
    if len(within) > 1:
        carried[1:] = recursion(within[:-1, -1].copy(), weight**BLOCK, before)
    within += carried[:, None] * weight ** np.arange(1.0, BLOCK + 1)
    return within.reshape(-1)[:count]
