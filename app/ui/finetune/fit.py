"""What would make the run need less memory, the greatest saving first, each one click.

Invariant: the savings are computed for the recipe as it stands; after a click they are computed anew.
"""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.services.finetune_draft import FinetuneDraft
from app.services.training_plan import Proposal
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, Line, column, label, row
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
        self._lines = [_Line(first=not place) for place in range(MOST)]
        for line in self._lines:
            line.taken.connect(self.taken)
        self._intro = label("", "body", "soft", wrap=True)
        self.card = Card(column(*self._lines, gap=0), padding=1)
        body = column(self._intro, self.card, gap=Space.S)
        self.setLayout(column(section(say("finetune_ui.less_memory"), "", body), gap=0))

    def show_draft(self, draft: FinetuneDraft) -> None:
        plan = draft.plan()
        needed = plan.footprint.total if plan is not None else 0
        offered = [one for one in draft.proposals() if one.saves >= LEAST_SAVING * needed][:MOST]
        self.setVisible(plan is not None and (bool(offered) or plan.verdict == "too_big"))
        if plan is None:
            return
        self._intro.setText(say(f"finetune_ui.less_{plan.verdict}" if offered else "finetune_ui.nothing_fits"))
        self.card.setVisible(bool(offered))
        self.buttons = {}
        for place, line in enumerate(self._lines):
            line.setVisible(place < len(offered))
            if place < len(offered):
                line.show_proposal(offered[place], soft=not place and plan.verdict != "fits")
                self.buttons[offered[place].change] = line.apply


class _Line(QWidget):
    """One change, what it saves and what it costs.

    Signals:
        taken: Recipe
    """

    taken = Signal(object)

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self._proposal: Proposal | None = None
        self._title = label("", "strong", wrap=True)
        self._saves = label("", "caption", "muted", wrap=True)
        self.apply = Button(say("finetune_ui.apply"), "secondary", small=True)
        self.apply.clicked.connect(lambda: self.taken.emit(self._proposal.recipe if self._proposal else None))
        line = row(column(self._title, self._saves, gap=Space.XXS), self.apply, gap=Space.M)
        line.setStretch(0, 1)
        line.setContentsMargins(Space.L, Space.S, Space.M, Space.S)
        self.setLayout(column(*([] if first else [Line()]), line, gap=0))

    def show_proposal(self, proposal: Proposal, *, soft: bool) -> None:
        self._proposal = proposal
        key = f"finetune_ui.change_{proposal.change}"
        title = say(key, value=proposal.value)
        self._title.setText(title)
        self._saves.setText(say("finetune_ui.saves", size=figures.size(proposal.saves), cost=say(f"{key}_costs")))
        self.apply.variant = "soft" if soft else "secondary"
        self.apply.setAccessibleName(f"{self.apply.text()}: {title}")
        self.apply.update()
