"""How far a long piece of work is. Long work in core is a generator of steps, so that whoever drives it can show
progress between two of them, or close it; closing it is its cancel, and its clean-up runs then.

Invariant: work that waits for something outside yields None at least every POLL_S, so a cancel never waits longer.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal, TypeVar

from msgspec import Struct

POLL_S = 0.04

Stage = Literal[
    "asking", "downloading", "checking", "unpacking", "converting", "copying", "merging", "loading", "proving",
    "quantising",
]  # fmt: skip


class FileStep(Struct, frozen=True):
    """`done` of `total` bytes of one file among many; 0 of a total that is not known."""

    name: str
    done: int
    total: int


class Step(Struct, frozen=True):
    """`done` of `total` bytes (None: not known yet); `detail` is the name of the file at hand.

    files: where several are at hand, those that have changed since the step before
    """

    stage: Stage
    done: int
    total: int | None = None
    detail: str = ""
    files: tuple[FileStep, ...] = ()


T = TypeVar("T")
Work = Generator[Step | None, None, T]
"""Steps, and at the end a result."""


def result(work: Work[T]) -> T:
    """Do the whole of `work`, for callers that show no progress."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
