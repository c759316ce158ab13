"""What came of a run, finished or half: chat with it, compare it with its base, merge it, export it.

Invariant: no button that can do nothing: what the library cannot do yet is not offered.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.services.training import Run
from app.ui.tokens import Space
from app.ui.training_run.words import number
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Glyph
from app.ui.widgets.layout import Card, column, label, row
from core import figures
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext


class ResultCard(QWidget):
    """
    Signals:
        chat_asked, merge_asked, export_asked: the name of the result in the library
        compare_asked: with its base

    Attributes:
        checkpoint: the folder of the last one, None where there is none
    """

    chat_asked = Signal(str)
    compare_asked = Signal()
    merge_asked = Signal(str)
    export_asked = Signal(str)

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.checkpoint: Path | None = None
        self._library, self._name = context.library, ""
        self._title, self._means = label("", "strong", wrap=True), label("", "caption", "soft", wrap=True)
        self._best = label("", "caption", "muted", wrap=True)
        self.chat = Button(say("run_ui.chat_with_it"), "primary", "chat")
        self.compare = Button(say("run_ui.compare_base"), "secondary", "layers")
        self.merge = Button(say("run_ui.merge"), "secondary", "adapter")
        self.export = Button(say("run_ui.export"), "secondary", "share")
        self.chat.clicked.connect(lambda: self.chat_asked.emit(self._name))
        self.compare.clicked.connect(self.compare_asked)
        self.merge.clicked.connect(lambda: self.merge_asked.emit(self._name))
        self.export.clicked.connect(lambda: self.export_asked.emit(self._name))
        words = row(
            Glyph("adapter", "accent", 22), column(self._title, self._means, self._best, gap=Space.XXS), gap=Space.M
        )
        words.setStretch(1, 1)
        line = row(words, self.export, self.merge, self.compare, self.chat, gap=Space.S)
        line.setStretch(0, 1)
        self.setLayout(column(Card(line)))
        self.hide()

    def show_run(self, run: Run, checkpoint: Path | None) -> None:
        """`checkpoint`: the folder of the last one."""
        self.checkpoint, self._name = checkpoint, run.result
        is_half = not run.result or run.status.state not in ("finished",)
        is_adapter = run.recipe.method != "full"
        self.setVisible(not run.status.is_alive and bool(run.result or (checkpoint and is_adapter)))
        if run.result and not is_half:
            self._title.setText(say("run_ui.result", name=run.result))
            self._means.setText(
                say("run_ui.result_means" if is_adapter else "run_ui.result_full", model=run.origin.model)
            )
        elif checkpoint is not None:
            step = figures.count(int(checkpoint.name.rpartition("-")[2]))
            self._title.setText(say("run_ui.half", step=step))
            self._means.setText(say("run_ui.half_means"))
        self._best.setText(_best_words(run))
        self._best.setVisible(run.best is not None)
        self.chat.setVisible(bool(run.result))
        self.merge.setVisible(bool(run.result) and is_adapter)
        self.export.setVisible(bool(run.result))


def _best_words(run: Run) -> str:
    """Which checkpoint did best on the rows kept aside, and whether it is the one that became the result."""
    if run.best is None:
        return ""
    step, loss = figures.count(run.best.step), number(run.best.loss)
    is_last = run.best.step == run.status.step
    taken = "last" if is_last else "taken" if run.recipe.result == "best" and run.result else "kept"
    return say(f"run_ui.best_{taken}", step=step, loss=loss)
