"""Which rows are learned from in which step, and how they go through the model: the plan of a run.

Rows are shuffled anew in each epoch by (seed, epoch) alone, steps run on over the ends of epochs, and the rows of one
step become passes of at most so many tokens. Invariant: the plan of a step follows from the seed and the lengths of the
rows, whoever asks and from wherever a run goes on; and a row is never split. Imports no torch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

Pass = tuple[int, ...]  # numbers of rows


@dataclass(frozen=True, slots=True)
class Plan:
    """
    lengths: tokens of each row; batch: rows of one step, over all ranks
    most: tokens of a pass, a longer row goes alone; in padded passes the padding counts
    packs: rows of a pass lie one after the other; else below each other, padded to the longest
    """

    lengths: Sequence[int]
    batch: int
    most: int
    seed: int
    packs: bool = True

    @property
    def steps_of_epoch(self) -> float:
        return len(self.lengths) / self.batch

    def rows(self, step: int) -> list[int]:
        """Of a step, counted from 0, in the order they were drawn. A run shorter than an epoch takes no row twice."""
        count = len(self.lengths)
        first = step * self.batch
        return [_order(count, self.seed, at // count)[at % count] for at in range(first, first + self.batch)]

    def passes(self, step: int, rank: int = 0, ranks: int = 1) -> list[Pass]:
        """Of one rank. Every rank gets the same number of passes, since they wait for each other in each: a rank that
        has none left repeats nothing but gets an empty one."""
        rows = self.rows(step)
        # Dealt out by length, so that the ranks have about as much to do.
        dealt = sorted(rows, key=lambda row: -self.lengths[row]) if ranks > 1 else rows
        shares = [self._folded(dealt[number::ranks]) for number in range(ranks)]
        longest = max(map(len, shares))
        return shares[rank] + [()] * (longest - len(shares[rank]))

    def _folded(self, rows: Sequence[int]) -> list[Pass]:
        return self._packed(rows) if self.packs else self._padded(rows)

    def _packed(self, rows: Sequence[int]) -> list[Pass]:
        """First fit, the longest first."""
        bins: list[tuple[int, list[int]]] = []
        for row in sorted(rows, key=lambda row: -self.lengths[row]):
            length = self.lengths[row]
            for at, (used, held) in enumerate(bins):
                if used + length <= self.most:
                    bins[at] = used + length, [*held, row]
                    break
            else:
                bins.append((length, [row]))
        return [tuple(held) for _, held in bins]

    def _padded(self, rows: Sequence[int]) -> list[Pass]:
        """Rows of like length together."""
        passes: list[list[int]] = []
        for row in sorted(rows, key=lambda row: -self.lengths[row]):
            widest = self.lengths[passes[-1][0]] if passes else 0
            if passes and widest * (len(passes[-1]) + 1) <= self.most:
                passes[-1].append(row)
            else:
                passes.append([row])
        return [tuple(held) for held in passes]


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> list[int]:
    order = list(range(count))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return order
