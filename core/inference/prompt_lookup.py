"""Tokens guessed from what was said before, and verified several at a time: greedy replies that quote come faster.

Owns what is guessed, and when guessing is worth its price. Invariant: a token is taken only where the model itself
chooses it, and where the two best logits nearly tie only from a single step: products of several rows round otherwise
than of one (8 bits, half precisions, and fp32 in the last bits). What is left of that is in the rows of keys and
values, a rounding away from those of single steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from core.inference.decoder import Verifying
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


class Lookup:
    """The greedy reply to one sequence, pass by pass; other passes may come between, see `add`."""

    def __init__(
        self,
        decoder: Verifying,
        cache: Any,
        ids: Sequence[int],
        *,
        rows: int,
        most: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """ids: of the sequence, of which the cache holds all but the last. rows: as Sampler. most: tokens a sequence
        can have."""
        self._decoder, self._cache, self._rows, self._most, self._clock = decoder, cache, rows, most, clock
        self._seen, self._pace, self._costs = Seen(ids), Pace(GUESSED), _Costs()
        self._id, self._is_tied = ids[-1], False  # tied: then the next pass is a single step

    def add(self, id: int) -> None:
        """A token that was chosen otherwise."""
        self._seen.add(id)
        self._id, self._is_tied = id, False

    def take(self) -> list[int]:
        """What one pass gives, a token or more; the cache holds all but the last of them then."""
        guesses = self._guesses()
        begin, before = self._clock(), self._cache.length
        logits = self._decoder.verify([self._id, *guesses], self._cache)
        scores = logits[:, : self._rows or None].float()
        chosen: list[int] = scores.argmax(-1).tolist()
        self._costs.note(len(guesses), self._clock() - begin)
        taken = 1 + next((at for at, guess in enumerate(guesses) if guess != chosen[at]), len(guesses))
        self._is_tied = False
        if guesses:
            clear = is_clear(scores[:taken], logits.dtype, NEAR).tolist()
            self._is_tied = not all(clear)
            taken = clear.index(False) if self._is_tied else taken
            self._cache.crop(before + taken)
            self._pace.note(len(guesses), max(taken - 1, 0))
            self._pace.extra_cost = self._costs.extra
        for id in chosen[:taken]:
            self._seen.add(id)
        if taken:
            self._id = chosen[taken - 1]
        return chosen[:taken]

    def _guesses(self) -> list[int]:
        room = self._most - self._cache.length - 1
        count = min(GUESSED if self._costs.wants_try else self._pace.guesses(), room)
        if count <= 0 or not self._costs.one_is_known or self._is_tied:
            return []
        return self._seen.guess(count)


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
