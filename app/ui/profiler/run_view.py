"""One table: where its figures come from, its comparisons, curves, tables and limits; live while it is measured.

Invariant: it is built a part at a time, so that no frame waits for it, and it owns nothing of the table.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

from app.services.profiling import ProfilingState
from app.ui import aio
from app.ui.profiler.bars import BarsView
from app.ui.profiler.parts import Section
from app.ui.profiler.words import Shown, is_resumable, title, when
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Banner
from app.ui.widgets.layout import Scroll, column, label, pane, row
from core.profiling.machine import runs_on_card
from core.profiling.result import CellResult, MachineProbe
from core.translation import say

VIEWS = tuple(
    f"app.ui.profiler.{name}" for name in ("readme_view", "kv_view", "tables", "timeline", "curves", "limits")
)
IN_PIECES = ("kv", "curves")  # sections with several parts, none of which a frame shall wait for
LIVE = "live"  # in place of a key: the cell under way

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.profiler.timeline import TimelineView


class RunView(QWidget):
    """
    Signals:
        asked: the key of a cell
        resume_asked: go on; True for failed cells too
        again_asked, command_asked, snapshot_asked, probe_asked

    Attributes:
        shown: None before there is a table
        sections: by name, in their order; all of them once is_built
    """

    asked = Signal(str)
    resume_asked = Signal(bool)
    again_asked = Signal()
    command_asked = Signal()
    snapshot_asked = Signal()
    probe_asked = Signal()

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.shown: Shown | None = None
        self.sections: dict[str, QWidget] = {}
        self.timeline: TimelineView | None = None
        self.is_built = False
        self._context, self._profiling = context, context.profiling
        self._probe: MachineProbe | None = None
        self._reading: asyncio.Task[None] | None = None
        self._filling: asyncio.Task[None] | None = None
        self._is_new = False  # no timeline was chosen yet
        self.facts = label("", "caption", "muted", wrap=True)
        self.command = Button(say("profile_ui.command"), "ghost", "terminal", small=True)
        self.command.clicked.connect(self.command_asked)
        line = row(self.facts, self.command, gap=Space.M)
        line.setStretch(0, 1)
        self._notice = column(gap=0)
        self._body = column(pane(line), self._notice, gap=Space.L)
        self._body.setContentsMargins(Space.XL, Space.M, Space.XL, Space.XL)
        outer = column(pane(self._body), None, gap=0)
        self.area = Scroll(pane(outer), say("profile_ui.table"))
        self.setLayout(column(self.area))
        self._building = aio.spawn(self._build(), "profile view")

    def leave(self) -> None:
        for task in (self._building, self._reading, self._filling):
            if task is not None:
                task.cancel()

    # --- building -----------------------------------------------------------------------

    async def _build(self) -> None:
        for module in ("app.ui.widgets.chart.plot", *VIEWS):  # most of a second, once
            await asyncio.to_thread(importlib.import_module, module)
        card = await asyncio.to_thread(runs_on_card)
        self._probe = await asyncio.to_thread(self._profiling.known_probe)
        for name, part in self._parts(card):
            self.sections[name] = part
            part.hide()
            self._body.addWidget(part)
            for one in [part, *part.findChildren(Section)]:
                if isinstance(one, Section):
                    one.asked.connect(self.asked)
            await asyncio.sleep(0)
            for _ in self._showing(name):
                await asyncio.sleep(0)
        self.is_built = True
        self._show_state(self._profiling.state)
        self._pick_timeline()

    def _parts(self, card: bool) -> Iterator[tuple[str, QWidget]]:
        yield "bars", BarsView()
        from app.ui.profiler.readme_view import ReadmeView

        again = Button(say("profile_ui.run_again"), "ghost", "refresh", small=True)
        again.clicked.connect(self.again_asked)
        yield "readme", ReadmeView(again)
        from app.ui.profiler.kv_view import KvView

        yield "kv", KvView()
        from app.ui.profiler.tables import CellsView, TrainingView

        yield "training", TrainingView()
        from app.ui.profiler.timeline import TimelineView

        self.timeline = TimelineView("" if card else say("profile_ui.snapshot_no_card"))
        self.timeline.picked.connect(self._read_timeline)
        self.timeline.snapshot_asked.connect(self.snapshot_asked)
        yield "timeline", self.timeline
        from app.ui.profiler.curves import CurvesView

        yield "curves", CurvesView()
        yield "cells", CellsView()
        from app.ui.profiler.limits import LimitsView

        limits = LimitsView()
        limits.probe_asked.connect(self.probe_asked)
        yield "limits", limits

    # --- showing ---------------------------------------------------------------------------

    def show_table(self, shown: Shown) -> None:
        """All of it; as often as a cell has ended."""
        is_other = self.shown is None or self.shown.run.id != shown.run.id
        self.shown = shown
        self.facts.setText(facts_words(shown))
        self._show_notice()
        if is_other:
            self.area.verticalScrollBar().setValue(0)
        if self._filling is not None:
            self._filling.cancel()
        self._is_new = self._is_new or is_other
        self._filling = aio.spawn(self._fill(), "fill profile view")

    async def _fill(self) -> None:
        for name in list(self.sections):
            for _ in self._showing(name):
                await asyncio.sleep(0)
        if self.is_built and (self._is_new or self._is_timeline_gone()):
            self._is_new = False
            self._pick_timeline()

    async def until_filled(self) -> None:
        """What show_table was given stands there; at once where it was given nothing."""
        if self._filling is not None:
            await asyncio.wait([self._filling])

    def _showing(self, name: str) -> Iterator[None]:
        part = self.sections[name]
        if self.shown is None:  # there is none yet, or it was deleted
            return
        if name == "timeline":
            part.show()
        elif name in IN_PIECES:
            yield from part.showing(self.shown)  # type: ignore[attr-defined]
        else:
            part.show_table(self.shown)  # type: ignore[attr-defined]
        if name == "limits":
            part.show_probe(self._probe)  # type: ignore[attr-defined]
        yield

    def show_probe(self, probe: MachineProbe) -> None:
        self._probe = probe
        if "limits" in self.sections:
            self.sections["limits"].show_probe(probe)  # type: ignore[attr-defined]

    def _show_notice(self) -> None:
        while item := self._notice.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        shown = self.shown
        assert shown is not None
        lost = [one for one in shown.results.values() if one.state != "done"]
        again = Button(say("profile_ui.try_again"), "secondary", "refresh", small=True)
        again.clicked.connect(lambda: self.resume_asked.emit(True))
        if is_resumable(shown.run):
            resume = Button(say("profile_ui.resume"), "secondary", "play", small=True)
            resume.clicked.connect(lambda: self.resume_asked.emit(False))
            done = say("profile_ui.kept", done=len(shown.results), cells=len(shown.cells))
            words = say(f"profile_ui.was_{shown.run.state}")
            self._notice.addWidget(Banner("info", words, done, *([again] if lost else []), resume))
        elif lost and shown.run.state == "done":
            names = {state: sum(one.state == state for one in lost) for state in ("out_of_memory", "failed", "not_run")}
            said = [say(f"profile_ui.count_{state}", count=count) for state, count in names.items() if count]
            self._notice.addWidget(Banner("warn", ", ".join(said), say("profile_ui.lost_means"), again))

    # --- memory over time ---------------------------------------------------------------------

    def show_state(self, state: ProfilingState) -> None:
        """What the service says of the table under way, if it is this one."""
        if self.is_built:
            self._show_state(state)

    def _show_state(self, state: ProfilingState) -> None:
        shown, timeline = self.shown, self.timeline
        if shown is None or timeline is None:
            return
        is_mine = state.run is not None and state.run.id == shown.run.id and state.index >= 0
        timeline.allow_snapshot(is_running=is_mine)
        limits = self.sections.get("limits")
        if limits is not None:
            limits.again.setEnabled(state.run is None)  # type: ignore[attr-defined]
        if is_mine:
            key = state.cells[state.index].key
            if timeline.choice.key in ("", LIVE):
                timeline.show_choices(self._choices(is_live=True), LIVE)
                timeline.show_live(key, state.timeline)

    def _choices(self, *, is_live: bool) -> list[tuple[str, str]]:
        assert self.shown is not None
        found = [(key, title(one.cell)) for key, one in self.shown.results.items() if one.state != "not_run"]
        return [(LIVE, say("profile_ui.live")), *found] if is_live else found

    def _is_timeline_gone(self) -> bool:
        state = self._profiling.state
        is_live = state.run is not None and self.shown is not None and state.run.id == self.shown.run.id
        return self.timeline is not None and self.timeline.choice.key in ("", LIVE) and not is_live

    def _pick_timeline(self) -> None:
        """The one with the most to see: the last that was measured."""
        timeline, shown = self.timeline, self.shown
        if timeline is None or shown is None:
            return
        state = self._profiling.state
        if state.run is not None and state.run.id == shown.run.id:
            timeline.show_choices(self._choices(is_live=True), LIVE)
            self._show_state(state)
            return
        choices = self._choices(is_live=False)
        best = [key for key, one in shown.results.items() if one.state == "done" and one.cell.kind != "quality"]
        key = best[-1] if best else choices[-1][0] if choices else ""
        timeline.show_choices(choices, key)
        timeline.setVisible(bool(choices))
        if key:
            self._read_timeline(key)

    def see_timeline(self, key: str) -> None:
        """Of one cell, scrolled into view."""
        if self.timeline is not None and self.shown is not None:
            state = self._profiling.state
            is_live = state.run is not None and state.run.id == self.shown.run.id
            self.timeline.show_choices(self._choices(is_live=is_live), key)
            self._read_timeline(key)
            self.area.ensureWidgetVisible(self.timeline)

    def _read_timeline(self, key: str) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if key != LIVE and self.shown is not None:
            self._reading = aio.spawn(self._fill_timeline(self.shown.run.id, key), "timeline")

    async def _fill_timeline(self, run_id: int, key: str) -> None:
        found = await self._profiling.timeline(run_id, key)
        if isValid(self) and self.timeline is not None and self.timeline.choice.key == key:
            self.timeline.show_timeline(key, found)

    def forget(self) -> None:
        """The table in view was deleted."""
        self.shown = None
        for part in self.sections.values():
            part.hide()

    def result(self, key: str) -> CellResult | None:
        return self.shown.results.get(key) if self.shown is not None else None


def facts_words(shown: Shown) -> str:
    """Where the figures come from, in one line."""
    parts = [shown.run.device]
    last = next(reversed(shown.results.values()), None)
    if last is not None:
        if last.machine is not None and last.machine.driver:
            parts.append(say("profile_ui.driver", version=last.machine.driver))
        if version := last.versions.get("torch"):
            parts.append(f"torch {version}")
    repeats = shown.run.plan.repeats
    parts.append(say("profile_ui.repeats_words" if repeats > 1 else "profile_ui.once_words", count=repeats))
    parts.append(when(shown.run.created))
    return "  ·  ".join(parts)
