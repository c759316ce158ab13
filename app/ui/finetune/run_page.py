"""One fine-tune: how it stands, how far it is, its last figures, and what can be done with it.

Invariant: it shows the run that the service tells of and owns nothing of it; `show_run` may come at any time.
"""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel, QWidget

from app.services.training import Run
from app.ui import theme
from app.ui.finetune.run_actions import VERBS, possible
from app.ui.finetune.run_words import loss_words, method_words, progress_words, share, state_words
from app.ui.tokens import Space
from app.ui.widgets.badge import Badge
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, Elided, Scroll, column, label, pane, row
from app.ui.widgets.progress import Bar
from core import figures
from core.translation import say

FIGURES = ("loss", "eval_loss", "tokens_per_s", "memory")


class RunPage(QWidget):
    """
    Signals:
        asked: a verb of RunActions
    """

    asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.run: Run | None = None
        self.buttons: dict[str, Button] = {}
        self.sentence = label("", "body", "soft", wrap=True)
        self._bar = Bar(say("finetune_ui.column_progress"))
        self._progress = label("", "caption", "muted")
        self._progress.setFont(theme.font(tabular=True))
        self._values: dict[str, QLabel] = {}
        self._facts = label("", "caption", "muted", wrap=True)
        cards = row(*(self._figure(name) for name in FIGURES), gap=Space.M)
        verbs = row(*(self._button(verb) for verb in VERBS), None, gap=Space.S)
        body = column(
            self.sentence, self._bar, self._progress, Space.S, pane(cards), Space.S, pane(verbs), self._facts, None,
            gap=Space.S,
        )  # fmt: skip
        body.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
        self.setLayout(column(Scroll(pane(body), say("finetune_ui.run")), gap=0))
        self.title = Elided("", "title")
        self.badge = Badge("")

    def _figure(self, name: str) -> QWidget:
        value = self._values[name] = label("–", "figure")
        value.setFont(theme.font(tabular=True))
        return Card(column(label(say(f"finetune_ui.figure_{name}"), "caption", "muted"), value, gap=Space.XXS))

    def _button(self, verb: str) -> Button:
        button = Button(say(f"finetune_ui.verb_{verb}"), "primary" if verb == "chat" else "secondary", VERBS[verb])
        button.clicked.connect(lambda: self.asked.emit(verb))
        button.hide()
        self.buttons[verb] = button
        return button

    def show_run(self, run: Run) -> None:
        self.run = run
        self.title.setText(run.name)
        self.badge.show_state(*state_words(run), "dot")
        self.sentence.setText(str(run.status))
        self._bar.set_share(share(run))
        self._progress.setText(progress_words(run))
        for verb, button in self.buttons.items():
            button.setVisible(verb in possible(run))
        for name, words in _figures(run).items():
            self._values[name].setText(words)
        place = say("finetune_ui.run_facts", model=run.origin.model, method=method_words(run.recipe.method),
                    data=run.recipe.data)  # fmt: skip
        self._facts.setText(place)


def _figures(run: Run) -> dict[str, str]:
    latest = run.latest
    speed, memory, aside = latest.get("tokens_per_s"), latest.get("memory"), latest.get("eval_loss")
    return {
        "loss": loss_words(run),
        "eval_loss": f"{aside:.3f}" if aside is not None else "–",
        "tokens_per_s": figures.count(round(speed)) if speed else "–",
        "memory": figures.size(memory) if memory else "–",
    }
