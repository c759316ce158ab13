"""The head of a run's page: its name, how it stands, how far it is, and the buttons that mean something now.

Invariant: one line of fixed height over a line of progress; an update changes words, never the places of buttons.
"""

from __future__ import annotations

from PySide6.QtCore import QPoint, Signal
from PySide6.QtWidgets import QWidget

from app.services.training import Run
from app.ui import theme
from app.ui.tokens import Size, Space
from app.ui.training_run.actions import VERBS, main_verbs, reasons
from app.ui.training_run.words import progress_words, share, state_words
from app.ui.widgets.badge import Badge
from app.ui.widgets.button import Button, IconButton
from app.ui.widgets.layout import Elided, column, pane, row
from app.ui.widgets.progress import Bar
from core.translation import say

BUTTONS = ("kill", "resume", "more", "pause", "stop")


class RunHead(QWidget):
    """
    Signals:
        asked: a verb of RunActions
        back_asked: to the list
        menu_asked: all verbs, and where on the screen
    """

    asked = Signal(str)
    back_asked = Signal()
    menu_asked = Signal(QPoint)

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[str, Button] = {}
        back = IconButton("left", say("run_ui.back"), size=Size.CONTROL)
        back.clicked.connect(self.back_asked)
        self.name = Elided("", "title")
        self.name.setSizePolicy(self.name.sizePolicy().Policy.Maximum, self.name.sizePolicy().Policy.Fixed)
        self.badge = Badge("")
        self.words = Elided("", "caption", "soft")
        self.words.setFont(theme.font(tabular=True))
        for verb in BUTTONS:
            self.buttons[verb] = self._button(verb)
        self.more = IconButton("more", say("kit.more"), size=Size.CONTROL)
        self.more.clicked.connect(lambda: self.menu_asked.emit(self.more.mapToGlobal(self.more.rect().bottomLeft())))
        line = row(back, self.name, self.badge, self.words, *self.buttons.values(), self.more, gap=Space.S)
        line.setStretch(3, 1)
        line.setContentsMargins(Space.M, 0, Space.L, 0)
        upper = pane(line)
        upper.setFixedHeight(Size.PAGE_HEADER - 3)
        self.bar = Bar(say("run_ui.progress"), height=3)
        self.setLayout(column(upper, self.bar, gap=0))

    def _button(self, verb: str) -> Button:
        variant = "primary" if verb == "resume" else "danger" if verb == "kill" else "secondary"
        button = Button(say(f"run_ui.verb_{verb}"), variant, VERBS[verb])  # type: ignore[arg-type]
        button.clicked.connect(lambda: self.asked.emit(verb))
        button.hide()
        return button

    def show_run(self, run: Run) -> None:
        self.name.setText(run.name)
        word, tone = state_words(run)
        self.badge.show_state(word, tone, "dot")
        self.words.setText(progress_words(run))
        self.bar.set_tone("accent" if run.status.is_alive else "ok" if run.status.state == "finished" else "neutral")
        self.bar.set_share(share(run))
        start = say("run_ui.verb_start" if run.status.state == "new" else "run_ui.verb_resume")
        if self.buttons["resume"].text() != start:
            self.buttons["resume"].setText(start)
            self.buttons["resume"].setAccessibleName(start)
            self.buttons["resume"].updateGeometry()
        shown, why = main_verbs(run), reasons(run)
        self.buttons["resume"].variant = "secondary" if run.status.state == "failed" else "primary"  # others come first
        for verb, button in self.buttons.items():
            button.setVisible(verb in shown)
            button.setEnabled(not why[verb])
            button.setToolTip(why[verb] or say(f"run_ui.hint_{verb}"))
            button.setAccessibleDescription(why[verb])
