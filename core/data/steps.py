"""How far the reading of training data is: long work here is a generator of steps, so that it can be shown and closed.

Invariant: work gives a step at least every EVERY_ROWS rows or EVERY_BYTES bytes, so a cancel waits for no more.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal, NamedTuple, TypeVar

EVERY_ROWS = 256
EVERY_BYTES = 1 << 20

Stage = Literal["reading_data", "checking_data", "counting_tokens", "mending_data"]


class Step(NamedTuple):
    """stage: a key of the catalogue, `progress.<stage>`"""

    stage: Stage
    done: int
    total: int
    unit: Literal["bytes", "rows"]


T = TypeVar("T")
Work = Generator[Step, None, T]


def result(work: Work[T]) -> T:
    """The whole of `work`, for callers that show no progress."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
