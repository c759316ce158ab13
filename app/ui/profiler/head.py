"""The head of the page: which table is in view, and what can be done. One line of fixed height on every view."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPoint, Signal
from PySide6.QtWidgets import QWidget

from app.ui import shortcuts
from app.ui.profiler.parts import KeyChoice
from app.ui.profiler.words import run_state, run_title
from app.ui.tokens import Size, Space
from app.ui.widgets.badge import Badge
from app.ui.widgets.button import Button, IconButton
from app.ui.widgets.layout import label, row
from core.store.records import ProfileRun
from core.translation import say

ALL = "all"
IN_MENU = 12
NARROW = 160  # px of the name of a table, where the state and the buttons need the room beside it


class ProfilerHead(QWidget):
    """
    Signals:
        new_asked, back_asked, runs_asked, export_asked
        picked: the number of a table
        menu_asked: what can be done with the table in view, and where
    """

    new_asked = Signal()
    back_asked = Signal()
    runs_asked = Signal()
    export_asked = Signal()
    picked = Signal(int)
    menu_asked = Signal(QPoint)

    def __init__(self) -> None:
        super().__init__()
        self.back = IconButton("left", say("profile_ui.back"), size=Size.CONTROL)
        self.back.clicked.connect(self.back_asked)
        self.title = label("", "title")
        self.choice = KeyChoice(say("profile_ui.table_choice"))
        self.choice.picked.connect(self._pick)
        self.state = Badge("")
        self.export = Button(say("profile_ui.export"), "ghost", "share", trailing="down")
        self.export.setToolTip(shortcuts.keys("profiler", "export_profile"))
        self.export.clicked.connect(self.export_asked)
        self.more = IconButton("more", say("kit.more"), size=Size.CONTROL)
        self.more.clicked.connect(lambda: self.menu_asked.emit(self.more.mapToGlobal(self.more.rect().bottomLeft())))
        self.new = Button(say("profile_ui.new"), "primary", "plus")
        self.new.setToolTip(shortcuts.keys("profiler", "new_profile"))
        self.new.clicked.connect(self.new_asked)
        line = row(self.back, self.title, Space.S, self.choice, self.state, None, self.export, self.more, self.new,
                   gap=Space.S)  # fmt: skip
        line.setContentsMargins(Space.XL, 0, Space.XL, 0)
        self.setLayout(line)
        self.setFixedHeight(Size.PAGE_HEADER)

    def adapt(self, wide: bool) -> None:
        self.choice.keep_below(0 if wide else NARROW)

    def show_view(self, view: str, runs: Sequence[ProfileRun], run: ProfileRun | None) -> None:
        """`run`: the table in view."""
        titles = {"new": "new", "runs": "runs", "compare": "compare_title"}
        self.title.setText(say(f"profile_ui.{titles[view]}") if view in titles else say("window.profiler"))
        self.back.setVisible(view in titles)
        has_run = view == "run" and run is not None
        for one in (self.choice, self.state, self.export, self.more):
            one.setVisible(has_run)
        self.new.setVisible(view in ("run", "runs", "compare"))
        if run is not None and has_run:
            choices = [(str(one.id), run_title(one)) for one in runs[:IN_MENU]]
            if str(run.id) not in dict(choices):
                choices.append((str(run.id), run_title(run)))
            self.choice.show_choices([*choices, (ALL, say("profile_ui.all_runs"))], str(run.id))
            self.choice.show_value(run_title(run))
            self.state.show_state(*run_state(run), "dot")

    def _pick(self, key: str) -> None:
        if key == ALL:
            self.runs_asked.emit()
        else:
            self.picked.emit(int(key))
