"""How far a long piece of work is. Long work in core is a generator of steps, so that whoever drives it can show
progress between two of them, or close it; closing it is its cancel, and its clean-up runs then.

Invariant: work that waits for something outside yields None at least every POLL_S, so a cancel never waits longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeVar

from msgspec import Struct

POLL_S = 0.04

Stage = Literal["asking", "downloading", "checking", "unpacking", "converting", "reading"]


class Step(Struct, frozen=True):
    """`done` of `total` (None: not known yet), counted in `unit`; `detail` is the name of the file at hand."""

    stage: Stage
    done: int
    total: int | None = None
    unit: Literal["bytes", "files"] = "bytes"
    detail: str = ""


Steps = Iterator[Step | None]
T = TypeVar("T")


def run_through(work: Iterator[object]) -> None:
    """Do the whole of `work`, for callers that show no progress."""
    for _ in work:
        pass
