"""What is wrong with the data: each kind with its mending, and the rows it was found in.

Invariant: nothing here changes the file; mending asks for the name of a new one.
"""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.ui.finetune.step import emptied
from app.ui.tokens import Space
from app.ui.widgets.badge import Badge
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Glyph
from app.ui.widgets.layout import Card, Elided, Line, column, pane, row
from app.ui.widgets.page import section
from app.ui.widgets.table import Cell, Rows, Table
from core import figures
from core.data.problems import KINDS, Problem
from core.data.report import DataReport
from core.translation import say

COLUMNS = (("line", 76), ("what", 0), ("mending", 190))
ROWS_SHOWN = 6


def mendable(report: DataReport) -> list[str]:
    """The kinds that mending does something about."""
    return [code for code, _ in report.counts if code in KINDS and KINDS[code].fix]


class Problems(QWidget):
    """
    Signals:
        mend_asked: kinds to mend, each by its own way; and kinds whose rows are left out
        row_asked: a row to look at
    """

    mend_asked = Signal(list, list)
    row_asked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[Problem] = []
        self.mend_all = Button(say("finetune_ui.mend_all"), "secondary", "check", small=True)
        self._codes: list[str] = []
        self.mend_all.clicked.connect(lambda: self.mend_asked.emit(self._codes, []))
        self._kinds: QVBoxLayout = column(gap=0)
        self._rows = Rows([say(f"finetune_ui.problem_{name}") for name, _ in COLUMNS], [])
        self.table = Table(say("finetune_ui.problems"), self._rows, [width for _, width in COLUMNS])
        self.table.clicked.connect(lambda index: self._look(index.row()))
        self.table.chosen.connect(self._look)
        self.buttons: dict[str, Button] = {}
        body = column(Card(self._kinds, padding=1), Card(column(self.table), padding=1), gap=Space.S)
        self.setLayout(column(section(say("finetune_ui.problems"), "", body, self.mend_all), gap=0))

    def show_report(self, report: DataReport) -> Iterator[None]:
        """In pieces."""
        self.problems = list(report.problems)
        self._codes = mendable(report)
        self.mend_all.setVisible(bool(self._codes))
        emptied(self._kinds)
        self.buttons = {}
        for place, (code, count) in enumerate(report.counts):
            if place:
                self._kinds.addWidget(Line())
            self._kinds.addWidget(self._kind(code, count))
            yield
        self._rows.replace([_cells(problem) for problem in self.problems])
        tall = self.table.verticalHeader().defaultSectionSize()
        shown = min(len(self.problems), ROWS_SHOWN)
        self.table.setFixedHeight(shown * tall + self.table.horizontalHeader().sizeHint().height() + 2)

    def _kind(self, code: str, count: int) -> QWidget:
        kind = KINDS.get(code)
        is_error = kind is None or kind.severity == "error"
        title = Elided(say(f"finetune_ui.kind_{code}") if kind else say(f"error.{code}"), "strong")
        badge = Badge(say("finetune_ui.rows_count", count=figures.count(count)), "bad" if is_error else "warn")
        line = row(Glyph("error" if is_error else "warn", "bad" if is_error else "warn", 16), title, badge, gap=Space.M)
        line.setStretch(1, 1)
        if kind is not None:
            fix = kind.fix or "drop"
            button = self.buttons[code] = Button(say(f"finetune_ui.fix_{fix}"), "secondary", small=True)
            button.setAccessibleName(f"{button.text()}: {title.text()}")
            chosen = ([code], []) if kind.fix else ([], [code])
            button.clicked.connect(lambda: self.mend_asked.emit(*chosen))
            line.addWidget(button)
        line.setContentsMargins(Space.M, Space.S, Space.S, Space.S)
        return pane(line)

    def _look(self, place: int) -> None:
        if 0 <= place < len(self.problems):
            self.row_asked.emit(self.problems[place].row)


def _cells(problem: Problem) -> list[Cell]:
    place = figures.count(problem.line or problem.row)
    fix = problem.fix or "drop"
    way = say("finetune_ui.fix_by_hand") if not problem.fix else say(f"finetune_ui.fix_{fix}")
    sentence = problem.sentence()
    return [Cell(place, number=True), Cell(sentence, hint=sentence), Cell(way)]
