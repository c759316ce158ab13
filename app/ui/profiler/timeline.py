"""Memory of one cell over time with its phases: live while it runs, and as it was kept.

Invariant: a curve is what was measured: of the process where there is no card, of PyTorch and the card where there is.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Signal
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui import theme
from app.ui.profiler.parts import KeyChoice, Section
from app.ui.tokens import Radius, Space, Type
from app.ui.widgets.button import Button
from app.ui.widgets.chart.chart import Chart
from app.ui.widgets.chart.frame import Phase
from app.ui.widgets.chart.lines import Line
from app.ui.widgets.layout import Card, column
from app.ui.widgets.painting import begin, box, text, width_of
from core import figures
from core.profiling.timeline import MemorySample, MemoryTimeline, PhaseMark
from core.translation import say

TALL = 260
SWATCH = 10  # px
TINTS = {"libraries": 6, "load": 4, "warm_up": 3, "prefill": 2, "decode": 1, "forward": 1, "backward": 2,
         "optimiser": 3, "read": 1, "end": 6}  # fmt: skip
CARD, PROCESS = ("allocated", "reserved", "device"), ("own", "resident")


class TimelineView(Section):
    """
    Signals:
        picked: the key of a cell whose timeline shall be read
        snapshot_asked: what PyTorch's allocator holds now
    """

    picked = Signal(str)
    snapshot_asked = Signal()

    def __init__(self, no_snapshot: str) -> None:
        """no_snapshot: why there can be none here, "" where there can."""
        self.choice = KeyChoice(say("profile_ui.timeline_choice"))
        self.snapshot = Button(say("profile_ui.snapshot"), "ghost", "download", small=True)
        self._no_snapshot = no_snapshot
        super().__init__(say("profile_ui.timeline"), "", self.choice, self.snapshot)
        self.choice.picked.connect(self.picked)
        self.snapshot.clicked.connect(self.snapshot_asked)
        self.key = ""
        self._seen = 0
        self.chart = Chart(say("profile_ui.timeline"), x_name=say("profile_ui.second"), write=figures.size,
                           empty=say("profile_ui.no_timeline"))  # fmt: skip
        self.chart.start_at_zero()
        self.lines: dict[str, Line] = {}
        self.phases = PhaseLegend()
        holder = QWidget()
        holder.setLayout(column(self.chart))
        holder.setFixedHeight(TALL)
        self.add(Card(column(holder, self.phases), padding=Space.M))
        self.allow_snapshot(is_running=False)

    def allow_snapshot(self, *, is_running: bool) -> None:
        reason = self._no_snapshot or ("" if is_running else say("profile_ui.snapshot_idle"))
        self.snapshot.setEnabled(not reason)
        self.snapshot.setToolTip(reason or say("profile_ui.snapshot_hint"))
        self.snapshot.setAccessibleDescription(reason)
        self.remark.setText(reason)

    def show_choices(self, choices: Sequence[tuple[str, str]], key: str) -> None:
        self.choice.show_choices(choices, key)
        self.choice.setVisible(bool(choices))

    def show_timeline(self, key: str, timeline: MemoryTimeline) -> None:
        """Of a cell that has ended."""
        self._begin(key)
        self._add(timeline.samples)
        self._mark(timeline.marks, timeline.seconds)

    def show_live(self, key: str, timeline: MemoryTimeline) -> None:
        """What has come; it is the same cell as long as the key is."""
        if self.key != key or len(timeline.samples) < self._seen:
            self._begin(key)
        new = timeline.samples[self._seen :]
        if new or timeline.marks:
            self._add(new)
            self._mark(timeline.marks, None)

    def _begin(self, key: str) -> None:
        self.key, self._seen, self.lines = key, 0, {}
        self.chart.clear()
        self.chart.show_phases(())
        self.phases.show_phases({})

    def _add(self, samples: Sequence[MemorySample]) -> None:
        self._seen += len(samples)
        names = CARD if any(sample.reserved or sample.device for sample in samples) else PROCESS
        for name in names:
            found = [(sample.at_s, getattr(sample, name)) for sample in samples if getattr(sample, name) > 0]
            if not found:
                continue
            if name not in self.lines:
                self.lines[name] = self.chart.add(
                    Line(say(f"profile_ui.memory_{name}"), is_filled=name in ("own", "allocated"), write=figures.size)
                )
            self.chart.extend(self.lines[name], found)

    def _mark(self, marks: Sequence[PhaseMark], end: float | None) -> None:
        ends = [*(mark.at_s for mark in marks[1:]), end]
        self.chart.show_phases(
            [Phase(say(f"profile_ui.phase_{mark.phase}"), mark.at_s, stop, TINTS[mark.phase])
             for mark, stop in zip(marks, ends, strict=False) if mark.phase != "end"]
        )  # fmt: skip
        names = dict.fromkeys(mark.phase for mark in marks if mark.phase != "end")
        self.phases.show_phases({say(f"profile_ui.phase_{name}"): TINTS[name] for name in names})


class PhaseLegend(QWidget):
    """The phases by their colours, since a short one has no room for its name in the chart. In one line."""

    def __init__(self) -> None:
        super().__init__()
        self.phases: dict[str, int] = {}
        self.setAccessibleName(say("profile_ui.phases"))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_phases(self, phases: dict[str, int]) -> None:
        """By their names: the data colour of each."""
        if phases != self.phases:
            self.phases = dict(phases)
            self.setAccessibleDescription(", ".join(phases))
            self.update()

    def sizeHint(self) -> QSize:
        return QSize(0, round(20 * theme.state.text_scale))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, c, font = begin(self), theme.colors(), theme.font(Type.CAPTION)
        x, middle = float(Space.S), self.height() / 2
        for name, series in self.phases.items():
            box(painter, QRectF(x, middle - SWATCH / 2, SWATCH, SWATCH), Radius.S, c.series[series])
            x += SWATCH + Space.XS
            room = min(width_of(name, font) + 1, max(0.0, self.width() - x))
            text(painter, QRectF(x, 0, room, self.height()), name, font, c.text_soft)
            x += room + Space.L
