"""One cell in full: its figures, its memory by phase, and how to get them again: command, versions, machine, date.

Invariant: everything a number on the page is asked about stands here and can be copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QGridLayout, QWidget

from app.ui import theme
from app.ui.profiler import words as w
from app.ui.profiler.command import command_label
from app.ui.tokens import Space
from app.ui.widgets.badge import Badge
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Banner
from app.ui.widgets.layout import Card, Line, Scroll, column, label, pane, row
from app.ui.widgets.table import Cell, Rows, Table
from core import figures
from core.profiling.result import CellResult
from core.translation import say

Facts = Sequence[tuple[str, str]]
CARD_MEMORY, MEMORY = ("allocated", "reserved", "device"), ("own", "resident")


class CellDialog(QDialog):
    """`wants_timeline`: set when it was left by the button that shows the memory over time."""

    def __init__(self, parent: QWidget, result: CellResult, *, has_timeline: bool = True) -> None:
        """has_timeline: whether the page can show the memory over time of this cell"""
        super().__init__(parent)
        self._has_timeline = has_timeline
        self.result_ = result
        self.wants_timeline = False
        self.setWindowTitle(w.title(result.cell))
        self.setModal(True)
        state, tone = w.state_words(result)
        head = row(label(w.form_words(result.cell), "title"), Badge(state, tone, "dot"), None, gap=Space.M)
        under = label(f"{w.model_words(result.cell)} · {w.case_words(result.cell)}", "body", "muted", wrap=True)
        body = column(gap=Space.L)
        if reason := w.why(result):
            body.addWidget(Banner("bad" if tone == "bad" else "info", state, reason))
        for name, facts in (("measured", measured(result)), ("used", used(result))):
            if facts:
                body.addWidget(pane(column(label(say(f"profile_ui.detail_{name}"), "heading"), _grid(facts))))
        if result.memory:
            body.addWidget(self._phases(result))
        body.addWidget(self._origin(result))
        body.addStretch(1)
        body.setContentsMargins(Space.XL, Space.L, Space.XL, Space.L)
        top = column(head, under, gap=Space.XS)
        top.setContentsMargins(Space.XL, Space.L, Space.XL, Space.M)
        whole = column(pane(top), Line(), Scroll(pane(body), say("profile_ui.detail")), Line(), self._foot(), gap=0)
        whole.setStretch(2, 1)
        self.setLayout(whole)
        self.resize(660, min(720, max(420, parent.height() - 60)))

    def _foot(self) -> QWidget:
        timeline = Button(say("profile_ui.see_timeline"), "ghost", "clock")
        timeline.clicked.connect(self._see_timeline)
        if not self._has_timeline:
            timeline.hide()
        self.copy_all = Button(say("profile_ui.copy_all"), "secondary", "copy")
        self.copy_all.clicked.connect(lambda: _copy(self.text()))
        close = Button(say("kit.close"), "primary")
        close.clicked.connect(self.accept)
        foot = row(timeline, None, self.copy_all, close, gap=Space.S)
        foot.setContentsMargins(Space.XL, Space.M, Space.XL, Space.M)
        return pane(foot)

    def _see_timeline(self) -> None:
        self.wants_timeline = True
        self.accept()

    def _phases(self, result: CellResult) -> QWidget:
        names = CARD_MEMORY if any(phase.reserved for phase in result.memory) else MEMORY
        header = [say("profile_ui.detail_phase"), *(say(f"profile_ui.memory_{name}") for name in names)]
        rows = [
            [Cell(say(f"profile_ui.phase_{phase.phase}"), strong=True),
             *(Cell(w.size(getattr(phase, name)), number=True) for name in names)]
            for phase in result.memory
        ]  # fmt: skip
        table = Table(say("profile_ui.detail_phases"), Rows(header, rows), [0, *[164] * len(names)])
        table.fit_height()
        card = Card(column(table), padding=1)
        return pane(column(label(say("profile_ui.detail_phases"), "heading"), card))

    def _origin(self, result: CellResult) -> QWidget:
        command = command_label(result.command or w.NONE)
        self.copy_command = Button(say("kit.copy"), "ghost", "copy", small=True)
        self.copy_command.setAccessibleName(say("profile_ui.copy_command"))
        self.copy_command.clicked.connect(lambda: _copy(result.command))
        line = row(command, self.copy_command, gap=Space.M)
        line.setStretch(0, 1)
        return pane(
            column(label(say("profile_ui.detail_origin"), "heading"), Card(line, padding=Space.M, ground="sunken"),
                   _grid(origin(result)))
        )  # fmt: skip

    def text(self) -> str:
        """All of it, to be pasted."""
        result = self.result_
        facts = [*measured(result), *used(result), *origin(result)]
        lines = [w.title(result.cell), *(f"{name}: {value}" for name, value in facts), result.command]
        return "\n".join(line for line in lines if line)


def measured(result: CellResult) -> Facts:
    found: list[tuple[str, str]] = []

    def add(name: str, value: float | None, write: Callable[[float], str]) -> None:
        if value:
            found.append((say(f"profile_ui.fact_{name}"), write(value)))

    add("load", result.load_s, figures.duration)
    if (one := result.inference) is not None:
        add("first_token", one.first_token_s, w.milliseconds)
        add("reading", one.prompt_tokens_per_s, w.rate)
        add("decode", one.decode_tokens_per_s, w.rate)
        add("p50", one.token_s_p50, w.milliseconds)
        add("p99", one.token_s_p99, w.milliseconds)
        add("whole", one.whole_tokens_per_s, w.rate)
        add("repeats", one.repeats, lambda count: f"{count:g}")
    if (work := result.training) is not None:
        for name in ("step", "forward", "backward", "optimiser"):
            add(f"{name}_s", getattr(work, f"{name}_s"), figures.duration)
        add("tokens", work.tokens_per_s, w.rate)
        add("trained", work.trained_parameters, lambda count: figures.parameters(round(count)))
    if (text := result.quality) is not None:
        add("perplexity", text.perplexity, lambda value: f"{value:.4f}")
        found.append((say("profile_ui.fact_text"), text.text))
    add("peak", result.peak_bytes, figures.size)
    add("card_peak", result.card_peak_bytes, figures.size)
    add("context", result.context_bytes, figures.size)
    if result.estimate is not None:
        words = figures.size(result.estimate.total)
        error = result.estimate_error
        off = f" ({w.signed_fine(error)})" if error is not None else ""
        found.append((say("profile_ui.fact_estimate"), words + off))
    add("bandwidth", result.bandwidth_share, w.percent)
    add("matrix", result.matrix_share, w.percent)
    add("power", result.power_w, lambda watts: f"{watts:.0f} W")
    add("seconds", result.seconds, figures.duration)
    return found


def used(result: CellResult) -> Facts:
    """What really ran, which need not be what was asked."""
    source = result.inference or result.training
    names = ("weights", "backend", "precision", "kv_cache", "attention", "decoder", "device")
    found = [(say(f"profile_ui.fact_{name}"), str(getattr(source, name, ""))) for name in names]
    return [(name, value) for name, value in found if value]


def origin(result: CellResult) -> Facts:
    machine = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    found = [(say("profile_ui.fact_date"), w.when(result.measured_at)), (say("profile_ui.fact_versions"), versions)]
    if machine is not None:
        found += [
            (say("profile_ui.fact_machine"), say("profile_ui.machine", processor=machine.processor,
             cores=machine.cores, memory=figures.size(machine.memory_bytes))),
            (say("profile_ui.fact_system"), machine.system),
        ]  # fmt: skip
        if machine.card:
            card = f"{machine.card}, {figures.size(machine.card_bytes)}, {machine.driver}"
            found.insert(2, (say("profile_ui.fact_card"), card))
    if result.snapshot:
        found.append((say("profile_ui.fact_snapshot"), result.snapshot))
    return [(name, value) for name, value in found if value]


def _grid(facts: Facts) -> QWidget:
    grid = QGridLayout()
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(Space.XL)
    grid.setVerticalSpacing(Space.XS)
    grid.setColumnStretch(1, 1)
    grid.setColumnMinimumWidth(0, round(190 * theme.state.text_scale))
    for place, (name, value) in enumerate(facts):
        grid.addWidget(label(name, "body", "muted"), place, 0)
        shown = label(value, "body", wrap=True)
        shown.setFont(theme.font(tabular=True))
        grid.addWidget(shown, place, 1)
    return pane(grid)


def _copy(words: str) -> None:
    QGuiApplication.clipboard().setText(words)
