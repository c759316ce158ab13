"""The X-ray: one row of the data exactly as the model will see it, and the way to the next one.

Invariant: the row in view is the draft's; an answer for a row that was left meanwhile is not shown.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSpinBox, QStackedWidget, QWidget

from app.ui import aio, theme
from app.ui.finetune.learned_view import LearnedView
from app.ui.tokens import Space, Type
from app.ui.widgets.button import Button, IconButton
from app.ui.widgets.layout import Card, Scroll, column, label, pane, row
from app.ui.widgets.page import section
from app.ui.widgets.toggle import Segmented
from core import figures
from core.errors import UserError
from core.protocol.messages import RowShown
from core.translation import say

if TYPE_CHECKING:
    from app.services.finetune_draft import FinetuneDraft

MASKS = ("answers", "original")
HEIGHT = 248
TEXT_MOST = 4000  # characters of a row that cannot be shown as tokens


class RowView(QWidget):
    """
    Attributes:
        found: the row in view, None before the first answer
    """

    def __init__(self, draft: FinetuneDraft) -> None:
        super().__init__()
        self.found: RowShown | None = None
        self._draft = draft
        self._asking: asyncio.Task[None] | None = None
        self.masks = Segmented(say("finetune_ui.mask"), [say(f"finetune_ui.mask_{name}") for name in MASKS])
        self.masks.chosen.connect(lambda index: draft.change(mask=MASKS[index]))
        self._mask_means = label("", "caption", "muted", wrap=True)
        self._words = label("", "caption", "soft", wrap=True)
        self.view = LearnedView()
        self._raw = label("", "caption", "soft", wrap=True)
        self._raw.setFont(theme.font(Type.CAPTION, literal=True))
        self._raw.setAlignment(Qt.AlignmentFlag.AlignTop)
        raw = column(self._raw, None)
        raw.setContentsMargins(Space.M, Space.M, Space.M, Space.M)
        self._stack = QStackedWidget()
        self._stack.addWidget(self.view)
        self._stack.addWidget(Scroll(pane(raw), say("finetune_ui.xray_raw")))
        self._stack.setFixedHeight(round(HEIGHT * theme.state.text_scale))
        lines = column(self._mask_means, self._bar(), Card(column(self._stack), padding=Space.XS), self._words,
                       gap=Space.S)  # fmt: skip
        self.setLayout(column(section(say("finetune_ui.xray"), "", lines, self.masks), gap=0))

    def _bar(self) -> QWidget:
        self.spin = QSpinBox()
        self.spin.setAccessibleName(say("finetune_ui.row"))
        self.spin.setKeyboardTracking(False)
        self.spin.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.spin.lineEdit().setTextMargins(Space.XS, 0, Space.S, 0)
        self.spin.setFixedWidth(round(88 * theme.state.text_scale))
        self.spin.valueChanged.connect(self.go)
        self._of = label("", "caption", "muted")
        self.before = IconButton("left", say("finetune_ui.row_before"))
        self.before.clicked.connect(lambda: self.go(self._draft.row - 1))
        self.after = IconButton("right", say("finetune_ui.row_after"))
        self.after.clicked.connect(lambda: self.go(self._draft.row + 1))
        self.problem = Button(say("finetune_ui.next_problem"), "ghost", small=True)
        self.problem.clicked.connect(self._next_problem)
        line = row(label(say("finetune_ui.row"), "caption", "soft"), self.spin, self._of, self.before, self.after, None,
                   self.problem)  # fmt: skip
        return pane(line)

    def go(self, number: int) -> None:
        """Another row, as far as there is one."""
        report = self._draft.report
        if report is not None:
            self._draft.row = max(1, min(number, report.rows))
            self.refresh()

    def refresh(self) -> None:
        """Show the draft's row anew."""
        draft, report = self._draft, self._draft.report
        if report is None:
            return
        quiet = self.spin.blockSignals(True)
        self.spin.setRange(1, report.rows)
        self.spin.setValue(draft.row)
        self.spin.blockSignals(quiet)
        self._of.setText(say("finetune_ui.of_rows", rows=figures.count(report.rows)))
        self.before.setEnabled(draft.row > 1)
        self.after.setEnabled(draft.row < report.rows)
        self.problem.setVisible(bool(report.problems))
        quiet = self.masks.blockSignals(True)
        self.masks.choose(MASKS.index(draft.recipe.mask))
        self.masks.blockSignals(quiet)
        self._mask_means.setText(say(f"finetune_ui.mask_{draft.recipe.mask}_means"))
        if self._asking is not None:
            self._asking.cancel()
        self._asking = aio.spawn(self._ask(), "training row")

    def leave(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    def _next_problem(self) -> None:
        report = self._draft.report
        rows = sorted({problem.row for problem in report.problems}) if report is not None else []
        if rows:
            self.go(next((number for number in rows if number > self._draft.row), rows[0]))

    async def _ask(self) -> None:
        try:
            found = await self._draft.read_row()
        except UserError as error:
            self._show_raw(str(error))
            return
        self.found = found
        problems = [problem.sentence() for problem in found.problems]
        if found.tokens:
            self._stack.setCurrentIndex(0)
            self.view.show_row(found.tokens, found.learned, found.count - found.cut)
            self._words.setText("\n".join([_counts(found), *problems]))
        else:
            self._show_raw(found.text[:TEXT_MOST])
            none = say("finetune_ui.needs_model_for_tokens") if not self._draft.recipe.model else ""
            self._words.setText("\n".join(words for words in [none, *problems] if words))

    def _show_raw(self, words: str) -> None:
        self._raw.setText(words)
        self._stack.setCurrentIndex(1)


def _counts(found: RowShown) -> str:
    words = say(
        "finetune_ui.row_counts", tokens=figures.count(found.count), learned=figures.count(found.count_learned)
    )  # fmt: skip
    if found.cut:
        words += say("discover.space") + say("finetune_ui.row_cut", tokens=figures.count(found.cut))
    if found.is_validation:
        words += say("discover.space") + say("finetune_ui.row_aside")
    return words
