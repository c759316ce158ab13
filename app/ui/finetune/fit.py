"""What would make the run need less memory, the greatest saving first, each one click.

Invariant: the savings are computed for the recipe as it stands; after a click they are computed anew.
"""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.services.finetune_draft import FinetuneDraft
from app.services.training_plan import Proposal
from app.ui.finetune.step import emptied
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, Line, column, label, pane, row
from app.ui.widgets.page import section
from core import figures
from core.translation import say

LEAST_SAVING = 0.01  # of what is needed; less is not worth a line
MOST = 5


class FitPane(QWidget):
    """
    Signals:
        taken: Recipe
    """

    taken = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[str, Button] = {}
        self._lines: QVBoxLayout = column(gap=0)
        self._intro = label("", "body", "soft", wrap=True)
        body = column(self._intro, Card(self._lines, padding=1), gap=Space.S)
        self.setLayout(column(section(say("finetune_ui.less_memory"), "", body), gap=0))

    def show_draft(self, draft: FinetuneDraft) -> None:
        plan = draft.plan()
        self.buttons = {}
        emptied(self._lines)
        if plan is None:
            self.hide()
            return
        needed = plan.footprint.total
        offered = [one for one in draft.proposals() if one.saves >= LEAST_SAVING * needed][:MOST]
        self.setVisible(bool(offered) or plan.verdict == "too_big")
        self._intro.setText(say(f"finetune_ui.less_{plan.verdict}" if offered else "finetune_ui.nothing_fits"))
        for place, proposal in enumerate(offered):
            if place:
                self._lines.addWidget(Line())
            self._lines.addWidget(self._line(proposal, soft=not place and plan.verdict != "fits"))

    def _line(self, proposal: Proposal, *, soft: bool) -> QWidget:
        key = f"finetune_ui.change_{proposal.change}"
        title = say(key, value=proposal.value)
        cost = say(f"{key}_costs")
        saves = say("finetune_ui.saves", size=figures.size(proposal.saves), cost=cost)
        button = self.buttons[proposal.change] = Button(
            say("finetune_ui.apply"), "soft" if soft else "secondary", small=True
        )
        button.setAccessibleName(f"{button.text()}: {title}")
        button.clicked.connect(lambda: self.taken.emit(proposal.recipe))
        words = column(label(title, "strong", wrap=True), label(saves, "caption", "muted", wrap=True), gap=Space.XXS)
        line = row(words, button, gap=Space.M)
        line.setStretch(0, 1)
        line.setContentsMargins(Space.L, Space.S, Space.M, Space.S)
        return pane(line)
