"""Which column of a table, or key of its rows, holds what: asked where the names do not say it.

Invariant: nothing is taken before there is enough: a conversation, or a question and an answer.
"""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.ui.tokens import Space
from app.ui.widgets.button import Button, Select
from app.ui.widgets.layout import Card, column, label, pane, row
from app.ui.widgets.page import section
from core.data.report import DataReport
from core.data.shape import Columns
from core.translation import say

MEANINGS = ("question", "answer", "system", "conversation")


class ColumnsForm(QWidget):
    """
    Signals:
        chosen: Columns
    """

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.selects: dict[str, Select] = {}
        self._none = say("finetune_ui.column_none")
        lines = column(label(say("finetune_ui.columns_means"), "caption", "muted", wrap=True), gap=Space.S)
        for meaning in MEANINGS:
            select = self.selects[meaning] = Select(say(f"finetune_ui.column_{meaning}"), [self._none])
            select.chosen.connect(lambda _: self._show_use())
            title = label(say(f"finetune_ui.column_{meaning}"), "body")
            lines.addWidget(pane(row(title, None, select)))
        self.use = Button(say("finetune_ui.columns_use"), "secondary", "check")
        self.use.clicked.connect(lambda: self.chosen.emit(self.columns()))
        lines.addWidget(pane(row(None, self.use)))
        self.setLayout(column(section(say("finetune_ui.columns"), "", Card(lines)), gap=0))

    def show_report(self, report: DataReport) -> None:
        for meaning, select in self.selects.items():
            current = getattr(report.columns, meaning)
            select.set_values([self._none, *report.names], current or self._none)
        self._show_use()

    def columns(self) -> Columns:
        chosen = {meaning: select.text() for meaning, select in self.selects.items()}
        return Columns(**{meaning: name for meaning, name in chosen.items() if name != self._none})

    def _show_use(self) -> None:
        self.use.setEnabled(self.columns().is_enough)
