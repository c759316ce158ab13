"""Tokens guessed from what was said before, and verified several at a time: greedy replies that quote come faster.

Owns what is guessed, and when guessing is worth its price. Invariant: a token is taken only where the model itself
chooses it, and where the two best logits nearly tie only from a single step: products of several rows round otherwise
than of one (8 bits, half precisions, and fp32 in the last bits). What is left of that is in the rows of keys and
values, a rounding away from those of single steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from core.inference.decoder import Tally, Verifying
from core.inference.sampling import is_clear

GUESSED = 3  # with the token they follow these are 4 rows, which the products of 8 bits take almost for the price of 1
NEAR = 0.02  # of the spread of scores: what products of 8 bits make of the same row among others
REST = 64  # passes without guesses after guessing did not pay
FIRST_PASSES = 3  # single ones, to know their price
SHARE = 0.125  # of the newest in the running means


class Pace:
    """When to guess. most: guesses at once. extra_cost: of a pass with guesses, as a share of one without."""

    def __init__(self, most: int, extra_cost: float = float("inf")) -> None:
        self.most, self.extra_cost = most, extra_cost
        self._right = float(most)  # guesses a pass, in the mean
        self._rest = 0

    def guesses(self) -> int:
        """How many to try now."""
        if not self.most or self.extra_cost == float("inf"):
            return 0
        if self._rest:
            self._rest -= 1
            if not self._rest:
                self._right = 1.5 * self.extra_cost  # a few tries, and no more if they fail
            return 0
        if self._right <= self.extra_cost:
            self._rest = REST
            return 0
        return self.most

    def note(self, tried: int, right: int) -> None:
        """Of the guesses `tried` at once `right` were."""
        if tried:
            self._right += SHARE * (right - self._right)


class Seen:
    """The ids of a sequence, and where each two and three of them stood last before something else came."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for id in ids:
            self.add(id)

    def add(self, id: int) -> None:
        ids = self._ids
        for length in (2, 3):
            if len(ids) >= length:
                self._after[tuple(ids[-length:])] = len(ids)
        ids.append(id)

    def guess(self, count: int) -> list[int]:
        """What followed the last three ids, or the last two, where they stood before; at most `count`."""
        for length in (3, 2):
            if len(self._ids) >= length and (at := self._after.get(tuple(self._ids[-length:]))) is not None:
                return self._ids[at : at + count]
        return []


def go_on(
    decoder: Verifying,
    cache: Any,
    ids: Sequence[int],
    tally: Tally,
    *,
    rows: int,
    most: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[int]:
    """The greedy reply after `ids`, of which the cache holds all but the last. It may be ahead of what was yielded.

    rows: as Sampler. most: tokens a sequence can have.
    """
    seen, pace, costs = Seen(ids), Pace(GUESSED), _Costs()
    id, is_tied = ids[-1], False  # then the next step is a single one
    while True:
        room = most - cache.length - 1
        count = min(GUESSED if costs.wants_try else pace.guesses(), room)
        guesses = seen.guess(count) if count > 0 and costs.one_is_known and not is_tied else []
        begin, before = clock(), cache.length
        logits = decoder.verify([id, *guesses], cache)
        scores = logits[:, : rows or None].float()
        chosen = scores.argmax(-1).tolist()
        costs.note(len(guesses), clock() - begin)
        tally.passes += 1
        taken = 1 + next((at for at, guess in enumerate(guesses) if guess != chosen[at]), len(guesses))
        if guesses:
            clear = is_clear(scores[:taken], logits.dtype, NEAR).tolist()
            is_tied = not all(clear)
            taken = clear.index(False) if is_tied else taken
            cache.crop(before + taken)
            pace.note(len(guesses), max(taken - 1, 0))
            pace.extra_cost = costs.extra
        else:
            is_tied = False
        for id in chosen[:taken]:
            seen.add(id)
            yield id


class _Costs:
    """How long passes take: one row, and several."""

    def __init__(self) -> None:
        self._one: list[float] = []
        self._many = 0.0

    @property
    def one_is_known(self) -> bool:
        return len(self._one) >= FIRST_PASSES

    @property
    def wants_try(self) -> bool:
        """Nobody knows yet what several rows cost."""
        return not self._many

    @property
    def extra(self) -> float:
        return max(0.0, self._many / sorted(self._one)[len(self._one) // 2] - 1)

    def note(self, guesses: int, seconds: float) -> None:
        if not guesses:
            self._one = [*self._one, seconds][-9:]
        elif not self._many:
            self._many = seconds
        else:
            self._many += SHARE * (seconds - self._many)
