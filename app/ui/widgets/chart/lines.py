"""What a chart draws: its lines, each with a look of its own, and what they say at one step.

Invariant: any two looks can be told apart without seeing colours as most people do: either the colours stay apart for
every common kind of colour blindness, or the strokes differ. A test holds them to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from app.ui.widgets.chart.series import Series

Stroke = Literal["solid", "dash", "dot", "dash_dot", "dash_dot_dot"]


class Look(NamedTuple):
    """`series` is the index of the data colour in the tokens."""

    series: int
    stroke: Stroke


# Of the run a chart is about, one a series; then of each further run, one for all its series.
OWN = (
    Look(0, "solid"),
    Look(2, "solid"),
    Look(1, "solid"),
    Look(4, "dot"),
    Look(3, "dot"),
    Look(5, "dash_dot"),
    Look(6, "dash_dot_dot"),
)
OTHERS = (Look(1, "dash"), Look(3, "dot"), Look(5, "dash_dot"), Look(6, "dash_dot_dot"), Look(4, "dot"))


@dataclass(eq=False, slots=True)
class Line:
    """
    Attributes:
        run: legend name of the run it belongs to; "" where there is but one
        unit: said behind its values
        is_smoothed: the raw values are drawn faintly below the smoothed ones
        has_points: few values, each with a marker, as validation has
        is_filled: down to zero
        write: a value in words, its unit included; None: a plain number and `unit`
    """

    name: str
    run: str = ""
    unit: str = ""
    is_smoothed: bool = False
    has_points: bool = False
    is_filled: bool = False
    write: Callable[[float], str] | None = None
    is_shown: bool = True
    look: Look = OWN[0]
    series: Series = field(default_factory=Series)


def runs_of(lines: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(line.run for line in lines))


def dress(lines: Sequence[Line]) -> None:
    """Give every line its look. The first run keeps its colours whatever is laid over it."""
    runs = runs_of(lines)
    own = [line for line in lines if line.run == runs[0]] if runs else []
    for place, line in enumerate(own):
        line.look = OWN[place % len(OWN)]
    taken = {line.look.series for line in own}
    free = sorted(OTHERS, key=lambda look: look.series in taken)
    for line in lines:
        if line.run != runs[0]:
            line.look = free[(runs.index(line.run) - 1) % len(free)]


class Reading(NamedTuple):
    """One row of what is said at the crosshair. `step` is that of the value, which need not be the crosshair's."""

    name: str
    shown: str
    value: float
    step: float
    line: Line
    is_faint: bool = False
