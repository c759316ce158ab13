"""Step three: how much of the model shall change: three cards, each with what it takes of this machine.

Invariant: a way that cannot work is not chosen, and says why on its card.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.services.finetune_draft import METHODS, Told
from app.services.training_plan import TrainingPlan
from app.ui.finetune.choice_card import ChoiceCard
from app.ui.finetune.step import Step
from app.ui.models.offer_words import TONES
from app.ui.tokens import Space
from app.ui.widgets.layout import column, label, pane
from core import figures
from core.models.training_footprint import TRAINED_BYTES
from core.training.recipe import Method
from core.translation import say


def _means(method: Method, plan: TrainingPlan | None) -> str:
    """With the size of the file an adapter will be: what is trained, as it is saved."""
    words = say(f"finetune_ui.method_{method}_means")
    if method != "lora" or plan is None:
        return words
    return say("finetune_ui.method_lora_means_size", size=figures.size(plan.trained * TRAINED_BYTES))


class MethodStep(Step):
    NAME = "method"

    def build(self) -> Iterator[None]:
        self.lines.addWidget(label(say("finetune_ui.method_intro"), "body", "soft", wrap=True))
        self.cards: dict[Method, ChoiceCard] = {}
        body = column(gap=Space.M)
        for method in METHODS:
            card = self.cards[method] = ChoiceCard(say(f"finetune_ui.method_{method}"))
            card.clicked.connect(lambda _=False, method=method: self.choose(method))
            body.addWidget(card)
            yield
        self.lines.addWidget(pane(body))
        self.lines.addStretch(1)

    def enter(self) -> None:
        self._show()

    def show_draft(self, told: Told) -> None:
        self._show()

    def choose(self, method: Method) -> None:
        if not self.draft.refusal(method):
            self.draft.change(method=method)
        self._show()

    def _show(self) -> None:
        draft = self.draft
        for method, card in self.cards.items():
            refusal, plan = draft.refusal(method), draft.plan(method)
            card.setEnabled(not refusal)
            card.setChecked(draft.recipe.method == method)
            card.show_words(_means(method, plan), say(f"finetune_ui.{refusal}") if refusal else "")
            if plan is None or refusal:
                card.show_badge("", "neutral", "")
            else:
                trained = figures.parameters(plan.trained)
                numbers = say("finetune_ui.method_takes", size=figures.size(plan.footprint.total), trained=trained)
                card.show_badge(say(f"load.{plan.verdict}"), TONES[plan.verdict], numbers)
