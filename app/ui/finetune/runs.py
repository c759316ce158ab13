"""The list of the fine-tunes of this machine, and what stands there before the first one.

Invariant: an update changes words, never the choice or the place of the scroll bar.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QItemSelectionModel, QPoint, Qt, Signal
from PySide6.QtWidgets import QStackedWidget, QWidget

from app.services.training import Run
from app.ui.training_run.words import method_words, number, progress_words, state_words, when_words
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Banner, EmptyState, Skeleton
from app.ui.widgets.layout import Card, column, pane
from app.ui.widgets.table import Cell, Rows, Table
from core.translation import say

COLUMNS = (("name", 0), ("method", 92), ("state", 120), ("progress", 190), ("loss", 84), ("when", 144))
SPARE = (5, 1)
LEAST_PX = 220


class RunsView(QWidget):
    """
    Signals:
        opened: the id of a run
        new_asked: a new fine-tune
        data_asked: choose a file first
        draft_asked: go on with what was begun
        menu_asked: the id of a run, and where its menu shall open
    """

    opened = Signal(str)
    new_asked = Signal()
    data_asked = Signal()
    draft_asked = Signal()
    menu_asked = Signal(str, QPoint)

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []
        self._rows = Rows([say(f"finetune_ui.column_{name}") for name, _ in COLUMNS], [])
        self.table = Table(say("finetune_ui.runs"), self._rows, [width for _, width in COLUMNS], tall=True)
        self.table.give_way(SPARE, LEAST_PX)
        self.table.chosen.connect(self._open)
        self.table.clicked.connect(lambda index: self._open(index.row()))
        self.table.menu_asked.connect(lambda place, where: self.menu_asked.emit(self.runs[place].id, where))
        self._stack = QStackedWidget()
        self._waiting = pane(column(Skeleton(6), None))
        self._list = Card(column(self.table), padding=1)
        self._stack.addWidget(self._waiting)
        self._stack.addWidget(self._list)
        self.empty = self._empty()
        self._stack.addWidget(self.empty)
        self._begun = column(gap=0)
        body = column(self._begun, self._stack, gap=0)
        body.setStretch(1, 1)
        self.setLayout(body)

    def _empty(self) -> EmptyState:
        new = Button(say("finetune_ui.new"), "primary", "plus")
        new.clicked.connect(self.new_asked)
        choose = Button(say("finetune_ui.choose_file"), "secondary", "file")
        choose.clicked.connect(self.data_asked)
        words = say("finetune_ui.empty_means")
        return EmptyState("finetune", say("finetune_ui.empty"), words, new, choose)

    def show_runs(self, runs: Sequence[Run]) -> None:
        cells = [_cells(run) for run in runs]
        if [run.id for run in runs] == [run.id for run in self.runs]:
            self.runs = list(runs)
            for place, row in enumerate(cells):
                self._rows.change(place, row)
        else:
            chosen = self.chosen()
            self.runs = list(runs)
            self._rows.replace(cells)
            self.choose(chosen)
        self._stack.setCurrentWidget(self._list if runs else self.empty)

    def chosen(self) -> str:
        place = self.table.currentIndex().row()
        return self.runs[place].id if 0 <= place < len(self.runs) else ""

    def choose(self, id: str) -> None:
        """Without such a one the first."""
        places = [place for place, run in enumerate(self.runs) if run.id == id]
        if self.runs:
            flags = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows
            self.table.selectionModel().setCurrentIndex(self._rows.index(places[0] if places else 0, 0), flags)

    def show_draft(self, words: str) -> None:
        """What was begun and not started, "" for nothing."""
        while item := self._begun.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        self._begun.setContentsMargins(0, 0, 0, 0)
        if words:
            go = Button(say("finetune_ui.go_on_with"), "secondary", small=True)
            go.clicked.connect(self.draft_asked)
            self._begun.setContentsMargins(0, 0, 0, 12)
            self._begun.addWidget(Banner("info", say("finetune_ui.draft"), words, go))

    def _open(self, place: int) -> None:
        if 0 <= place < len(self.runs):
            self.opened.emit(self.runs[place].id)

    def focus_list(self) -> None:
        self.table.setFocus(Qt.FocusReason.OtherFocusReason)


def _cells(run: Run) -> list[Cell]:
    word, tone = state_words(run)
    return [
        Cell(run.name, run.origin.model),
        Cell(method_words(run)),
        Cell("", badge=word, tone=tone, mark="dot", hint=str(run.status)),
        Cell(progress_words(run)),
        Cell(number(run.latest.get("loss")), number=True),
        Cell(when_words(run)),
    ]
