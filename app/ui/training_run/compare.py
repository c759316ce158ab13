"""One question to the base model and to what was learned, both answers side by side as they come.

Invariant: both are asked the same way, without chance; the dialog's end ends what is still answering.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QLineEdit, QPlainTextEdit, QWidget
from shiboken6 import isValid

from app.services.inference import as_error
from app.services.training import Run
from app.ui import aio
from app.ui.pacing import Paced
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, Line, column, label, row
from core import figures
from core.chat.turns import GREEDY, Turn
from core.errors import UserError
from core.protocol.messages import Failed, Finished, Generate, Progress, TextDelta
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext

EVERY_MS = 33
ANSWER_TOKENS = 256


class Side(QWidget):
    """One answer."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.answer = ""
        self._told = 0
        self.state = label("", "caption", "muted")
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setAccessibleName(name)
        self.text.setFrameShape(QPlainTextEdit.Shape.NoFrame)
        self.text.viewport().setAutoFillBackground(False)
        self.text.document().setDocumentMargin(0)
        self._paced = Paced(self, EVERY_MS, self._show)
        body = column(row(label(name, "strong"), None, self.state), self.text, gap=Space.S)
        body.setStretch(1, 1)
        self.setLayout(column(Card(body)))

    def clear(self) -> None:
        self.answer, self._told = "", 0
        self.text.clear()

    def add(self, words: str) -> None:
        self.answer += words
        self._paced.ask()

    def _show(self) -> None:
        cursor = self.text.textCursor()
        cursor.movePosition(cursor.MoveOperation.End)
        cursor.insertText(self.answer[self._told :])
        self._told = len(self.answer)

    def finish(self, words: str) -> None:
        self._show()
        self.state.setText(words)


class CompareDialog(QDialog):
    def __init__(self, parent: QWidget, context: AppContext, run: Run, checkpoint: Path | None) -> None:
        """`checkpoint`: asked where the run has no result."""
        super().__init__(parent)
        self._inference, self._run = context.inference, run
        self._adapter = "" if run.recipe.method == "full" else str(_adapter_of(run, checkpoint))
        self._jobs: list[str] = []
        self._asking: asyncio.Task[None] | None = None
        self.setWindowTitle(say("run_ui.compare_title", name=run.name))
        self.setModal(True)
        self.prompt = QLineEdit(next(iter(run.recipe.prompts), ""))
        self.prompt.setAccessibleName(say("run_ui.question"))
        self.prompt.setPlaceholderText(say("run_ui.question"))
        self.prompt.returnPressed.connect(self.ask)
        self.go = Button(say("run_ui.ask_both"), "primary", "send")
        self.go.clicked.connect(self.ask)
        self.base = Side(run.origin.model)
        self.learned = Side(run.result or say("run_ui.half_name", name=run.name))
        close = Button(say("kit.close"), "secondary")
        close.clicked.connect(self.reject)
        top = row(self.prompt, self.go, gap=Space.S)
        top.setStretch(0, 1)
        sides = row(self.base, self.learned, gap=Space.M)
        for place in (0, 1):
            sides.setStretch(place, 1)
        body = column(top, sides, gap=Space.M)
        body.setStretch(1, 1)
        body.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.L)
        self.means = label(say("run_ui.compare_means"), "caption", "muted", wrap=True)
        foot = row(self.means, close, gap=Space.L)
        foot.setStretch(0, 1)
        foot.setContentsMargins(Space.XL, Space.M, Space.XL, Space.L)
        whole = column(body, Line(), foot, gap=0)
        whole.setStretch(0, 1)
        self.setLayout(whole)
        self.resize(940, 560)
        self.prompt.setFocus(Qt.FocusReason.OtherFocusReason)
        self.finished.connect(self._stop)

    def ask(self) -> None:
        """Both; of an answer under way the rest is not waited for."""
        words = self.prompt.text().strip()
        if words:
            self._stop()
            self._asking = aio.spawn(self._ask(words), "compare")

    def _stop(self) -> None:
        for job_id in self._jobs:
            self._inference.cancel(job_id)
        self._jobs = []
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, words: str) -> None:
        model = self._run.origin.model
        for side in (self.base, self.learned):
            side.clear()
        if self._adapter:
            await asyncio.gather(
                self._answer(self.base, model, words, ""), self._answer(self.learned, model, words, self._adapter)
            )
        else:  # two whole models, one after the other
            await self._answer(self.base, model, words, "")
            await self._answer(self.learned, self._run.result, words, "")
        if isValid(self):
            self._tell_of_samples()

    def _tell_of_samples(self) -> None:
        """What the samples of the run were computed in, where that is another precision than here."""
        facts, loaded = self._run.facts, self._inference.state.loaded
        if facts is None or loaded is None or (facts.precision, facts.weights) == (loaded.precision, loaded.weights):
            return
        there, here = (_computing(one.weights, one.precision) for one in (facts, loaded))
        if there != here:
            self.means.setText(say("run_ui.compare_differs", samples=there, here=here))

    async def _answer(self, side: Side, model: str, words: str, adapter: str) -> None:
        job = Generate(
            uuid.uuid4().hex, (Turn("user", words),), msgspec.structs.replace(GREEDY, max_new_tokens=ANSWER_TOKENS),
            thinking=False, adapter=adapter,
        )  # fmt: skip
        self._jobs.append(job.job_id)
        try:
            await self._follow(side, model, job)
        finally:
            if job.job_id in self._jobs:
                self._jobs.remove(job.job_id)

    async def _follow(self, side: Side, model: str, job: Generate) -> None:
        side.state.setText(say("run_ui.answering"))
        async with aclosing(self._inference.generate(model, job)) as events:
            async for event in events:
                if not isValid(self):
                    return
                match event:
                    case TextDelta(text=text):
                        side.add(text)
                    case Progress(stage=stage) if stage:
                        side.state.setText(say(f"progress.{stage}"))
                    case Finished(figures=found):
                        side.finish(say("run_ui.tokens", count=figures.count(found.new_tokens)) if found else "")
                    case Failed():
                        error = as_error(event)
                        side.add(str(error) if isinstance(error, UserError) else say("run_ui.no_answer"))
                        side.finish("")
                    case _:
                        pass


def _computing(weights: str, precision: str) -> str:
    """The weights, and what is computed in where that is something else."""
    names = dict.fromkeys(figures.precision(name) for name in (weights, precision) if name)
    return " / ".join(names)


def _adapter_of(run: Run, checkpoint: Path | None) -> Path:
    result = run.path / "result"
    is_newer = run.status.state == "finished" or checkpoint is None
    return result if is_newer and result.is_dir() else checkpoint or result
