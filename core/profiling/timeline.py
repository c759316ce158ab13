"""The memory of one cell over time, with the parts of the work marked.

Invariant: times are seconds from the start of the worker's job and never go back; a phase ends where the next begins.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Phase = Literal["libraries", "load", "warm_up", "prefill", "decode", "forward", "backward", "optimiser", "read", "end"]


class PhaseMark(Struct, frozen=True, array_like=True):
    """From `at_s` on the work is `phase`, for the `round`th time (0 is the warm-up)."""

    at_s: float
    phase: Phase
    round: int = 0


class MemorySample(Struct, frozen=True, array_like=True):
    """Bytes at one moment. own: what the process has for itself (USS); resident: RSS, which counts what it shares.

    own is read more seldom than resident, which costs less: -1 between the readings. allocated, reserved: of PyTorch
    on the card, device: of the whole card as NVML tells it; all 0 on a processor
    """

    at_s: float
    resident: int
    own: int = -1
    allocated: int = 0
    reserved: int = 0
    device: int = 0


class MemoryTimeline(Struct, frozen=True):
    """dropped: samples left out to keep it short, evenly."""

    samples: tuple[MemorySample, ...] = ()
    marks: tuple[PhaseMark, ...] = ()
    dropped: int = 0

    @property
    def seconds(self) -> float:
        ends = [self.samples[-1].at_s] if self.samples else []
        return max([*ends, *(mark.at_s for mark in self.marks)], default=0.0)
