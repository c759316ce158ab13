"""What the lines of a chart say at one step. Invariant: a value is one that was measured, never one between two."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.ui.widgets.chart import ticks
from app.ui.widgets.chart.lines import Line, Reading, runs_of
from core.translation import say


def nearest(lines: Sequence[Line], step: float) -> float | None:
    """The step nearest to `step` that any of the lines has; of the infinities the first and the last."""
    steps = [line.series.at(line.series.near(step)).step for line in lines if len(line.series)]
    if math.isinf(step):
        return (min if step < 0 else max)(steps, default=None)
    return min(steps, key=lambda found: abs(found - step), default=None)


def at(lines: Sequence[Line], step: float | None, is_smoothed: bool) -> list[Reading]:
    """Each line's value nearest to `step`, or its last one; of smoothed lines both values."""
    has_runs = len(runs_of(lines)) > 1
    found: list[Reading] = []
    for line in lines:
        series = line.series
        index = len(series) - 1 if step is None else series.near(step)
        point, name = series.at(index), f"{line.run} · {line.name}" if has_runs and line.run else line.name
        is_below = line.is_smoothed and is_smoothed
        found.append(Reading(name, written(line, point.value), point.value, point.step, line, is_below))
        if is_below:
            value = series.smoothed_at(index)
            words = say("chart.smoothed", name=name)
            found.append(Reading(words, written(line, value), value, point.step, line))
    return found


def written(line: Line, value: float) -> str:
    if math.isnan(value):
        return "–"
    if line.write is not None:
        return line.write(value)
    return f"{ticks.written(value)} {line.unit}".rstrip()
