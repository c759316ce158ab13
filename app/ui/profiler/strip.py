"""How far the table under way is, on every view of the page: cell, share, time left, and the ways out.

Invariant: one card of fixed height; an update changes words, never places.
"""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.services.profiling import ProfilingState
from app.ui import theme
from app.ui.profiler.words import title
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, Elided, column, label, row
from app.ui.widgets.progress import Bar
from core import figures
from core.translation import say


class Strip(QWidget):
    """
    Signals:
        skip_asked: give up the cell under way; cancel_asked: the table; show_asked: its page
    """

    skip_asked = Signal()
    cancel_asked = Signal()
    show_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.name = Elided("", "strong")
        self.cell = Elided("", "caption", "soft")
        self.left = label("", "caption", "muted")
        self.left.setFont(theme.font(tabular=True))
        self.bar = Bar(say("profile_ui.progress"))
        self.show_ = Button(say("profile_ui.show_table"), "ghost", small=True)
        self.skip = Button(say("profile_ui.skip"), "ghost", small=True)
        self.skip.setToolTip(say("profile_ui.skip_hint"))
        self.cancel = Button(say("kit.cancel"), "secondary", "stop", small=True)
        self.cancel.setToolTip(say("profile_ui.cancel_hint"))
        self.show_.clicked.connect(self.show_asked)
        self.skip.clicked.connect(self.skip_asked)
        self.cancel.clicked.connect(self.cancel_asked)
        head = row(self.name, self.left, gap=Space.M)
        head.setStretch(0, 1)
        words = column(head, self.bar, self.cell, gap=Space.XS)
        line = row(words, self.show_, self.skip, self.cancel, gap=Space.S)
        line.setStretch(0, 1)
        self.setLayout(column(Card(line, padding=Space.M)))

    def show_state(self, state: ProfilingState, *, is_in_view: bool) -> None:
        run = state.run
        self.setVisible(run is not None)
        if run is None:
            return
        self.show_.setVisible(not is_in_view)
        self.skip.setEnabled(state.index >= 0)
        done, whole = len(state.results), max(1, len(state.cells))
        self.name.setText(say("profile_ui.under_way", name=run.name, done=done, count=whole))
        self.bar.set_share((done + (_within(state) if state.index >= 0 else 0.0)) / whole)
        left = state.left_s
        self.left.setText(say("profile_ui.left", time=figures.duration(left)) if left else "")
        self.cell.setText(now_words(state))


def _within(state: ProfilingState) -> float:
    """Of the cell under way; that it is never done before it has ended is said by stopping short."""
    progress = state.progress
    return 0.9 * progress.done / progress.total if progress is not None and progress.total else 0.0


def share(state: ProfilingState) -> float:
    return (len(state.results) + _within(state)) / max(1, len(state.cells))


def now_words(state: ProfilingState) -> str:
    """What is done at this moment, in one line."""
    if state.is_probing:
        return say("profile_ui.probing")
    if not 0 <= state.index < len(state.cells):
        return say("profile_ui.between")
    words = title(state.cells[state.index])
    progress = state.progress
    if progress is None or not progress.stage:
        return f"{words} · {say('profile_ui.starting_process')}"
    stage = say(f"progress.{progress.stage}")
    if progress.total and progress.stage == "profile_round":
        stage = say(
            "profile_ui.of", stage=stage, done=figures.count(progress.done), total=figures.count(progress.total)
        )
    return f"{words} · {stage}"
