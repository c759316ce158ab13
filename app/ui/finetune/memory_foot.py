"""The memory that the run in the making will take, part by part, against what is free now: the foot of the wizard.

Invariant: it says what the worker will find, and moves with every choice.
"""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.services.finetune_draft import FinetuneDraft
from app.services.training_plan import TrainingPlan
from app.ui.models.offer_words import TONES
from app.ui.tokens import Space
from app.ui.widgets.badge import Badge
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Elided, column, row
from app.ui.widgets.memory_bar import MemoryBar, Part
from core import figures
from core.translation import say

SERIES = {"weights": 0, "adapter": 3, "gradients": 4, "optimiser": 5, "activations": 2, "overhead": 6}


def bar_parts(plan: TrainingPlan) -> list[Part]:
    """The rest stands for what the allocator keeps for itself, so that the parts come to the total."""
    parts = [Part(say(f"finetune_ui.part_{name}"), size, SERIES[name]) for name, size in plan.parts]
    spare = plan.footprint.total - sum(size for _, size in plan.parts)
    return [part._replace(bytes=part.bytes + spare) if index == len(parts) - 1 else part
            for index, part in enumerate(parts)]  # fmt: skip


class MemoryFoot(QWidget):
    """
    Signals:
        fit_asked: make it need less
    """

    fit_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._title = Elided("", "caption", "soft")
        self.badge = Badge("", "neutral", "dot")
        self.bar = MemoryBar(say("finetune_ui.memory"))
        self.fit = Button(say("finetune_ui.make_it_fit"), "soft", "bolt", small=True)
        self.fit.clicked.connect(self.fit_asked)
        head = row(self._title, self.badge, self.fit, gap=Space.M)
        head.setStretch(0, 1)
        body = column(head, self.bar, gap=Space.XS)
        body.setContentsMargins(Space.XL, Space.S, Space.XL, Space.S)
        self.setLayout(body)

    def show_draft(self, draft: FinetuneDraft) -> None:
        plan = draft.plan()
        self.setVisible(plan is not None)
        if plan is None:
            return
        total = plan.footprint.total
        place = draft.room.card_name if plan.on_card else say("load.system_memory")
        numbers = {"place": place, "needed": figures.size(total), "free": figures.size(plan.free)}
        each = say("finetune_ui.memory_of_each", count=plan.devices, **numbers)
        words = each if plan.devices > 1 else say("finetune_ui.memory_of", **numbers)
        self._title.setText(words)
        tone = TONES[plan.verdict]
        self.badge.show_state(say(f"load.{plan.verdict}"), tone, "dot")
        self.bar.show_parts(bar_parts(plan), plan.free, tone)
        self.fit.setVisible(plan.verdict != "fits")
