"""Memory over the steps or seconds of a run, with its phases named: where it goes, when, and how near the limit.

Invariant: phases touch, the last one lasts until another begins, and one name has one colour.
"""

from __future__ import annotations

from app.ui.widgets.chart.chart import Chart
from app.ui.widgets.chart.frame import Limit, Phase
from app.ui.widgets.chart.lines import Line
from app.ui.widgets.chart.series import Points
from core import figures
from core.translation import say

TINTS = (4, 2, 1, 5, 3, 6)  # of phases; the memory itself is 0


class MemoryTimeline(Chart):
    """A filled line of bytes. More lines, as the memory reserved, can be added as to any chart."""

    def __init__(self, name: str, *, x_name: str = "", empty: str = "", used: Line | None = None) -> None:
        """`used`: a line that has begun before there was a chart of it."""
        super().__init__(name, x_name=x_name, empty=empty, write=figures.size)
        self.start_at_zero()
        self.used = self.add(used or Line(say("chart.memory_used"), is_filled=True, write=figures.size))
        self._phases: list[Phase] = []

    def extend_memory(self, points: Points) -> None:
        """Pairs of step and bytes."""
        self.extend(self.used, points)

    def begin_phase(self, name: str, step: float) -> None:
        """From `step` on, until another begins."""
        names = list(dict.fromkeys(phase.name for phase in self._phases))
        place = names.index(name) if name in names else len(names)
        if self._phases:
            self._phases[-1] = self._phases[-1]._replace(end=step)
        self._phases.append(Phase(name, step, None, TINTS[place % len(TINTS)]))
        self._told()

    def end_phase(self, step: float) -> None:
        if self._phases:
            self._phases[-1] = self._phases[-1]._replace(end=step)
        self._told()

    def show_available(self, bytes_: float) -> None:
        """The memory there is, as a line across; 0: not known."""
        words = say("chart.available", size=figures.size(bytes_))
        self.show_limit(Limit(bytes_, words) if bytes_ else None)

    def clear(self) -> None:
        """Ready for another run."""
        super().clear()
        self.used = self.add(Line(say("chart.memory_used"), is_filled=True, write=figures.size))
        self._phases = []
        self._told()

    def _told(self) -> None:
        self.show_phases(self._phases)
