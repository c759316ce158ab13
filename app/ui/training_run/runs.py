"""The list of the fine-tunes of this machine, and what stands there before the first one.

Invariant: an update changes words, never the choice or the place of the scroll bar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QItemSelectionModel, QPoint, Qt, Signal
from PySide6.QtWidgets import QStackedWidget, QWidget

from app.services.training import Run
from app.ui.pacing import Paced
from app.ui.training_run.words import method_words, number, progress_words, state_words, when_words
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import EmptyState
from app.ui.widgets.layout import Card, column
from app.ui.widgets.table import Cell, Rows, Table
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

COLUMNS = (("name", 0), ("model", 150), ("method", 84), ("state", 116), ("progress", 250), ("loss", 76), ("when", 136))
SPARE, LEAST_PX = (6, 1, 2), 200
EVERY_MS = 200


class RunsView(QWidget):
    """
    Signals:
        opened: the id of a run, by a click or Enter
        new_asked: a new fine-tune
        menu_asked: the id of a run, and where its menu shall open
    """

    opened = Signal(str)
    new_asked = Signal()
    menu_asked = Signal(str, QPoint)

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self.runs: list[Run] = []
        self._training = context.training
        self._rows = Rows([say(f"run_ui.column_{name}") for name, _ in COLUMNS], [])
        self.table = Table(say("run_ui.runs"), self._rows, [width for _, width in COLUMNS], tall=True)
        self.table.give_way(SPARE, LEAST_PX)
        self.table.chosen.connect(self._open)
        self.table.clicked.connect(lambda index: self._open(index.row()))
        self.table.menu_asked.connect(lambda place, where: self.menu_asked.emit(self.runs[place].id, where))
        new = Button(say("run_ui.new"), "primary", "plus")
        new.clicked.connect(self.new_asked)
        self.empty = EmptyState("finetune", say("run_ui.no_runs"), say("run_ui.no_runs_means"), new)
        self._stack = QStackedWidget()
        self._list = Card(column(self.table), padding=1)
        self._stack.addWidget(self._list)
        self._stack.addWidget(self.empty)
        self.setLayout(column(self._stack))
        self.setFocusProxy(self.table)
        self._wait = Paced(self, EVERY_MS, self._show)
        self._end = self._training.changed.listen(self._wait.ask)
        self._show()

    def leave(self) -> None:
        self._end()
        self._wait.stop()

    def chosen(self) -> str:
        """The id of the run that is selected, "" where none is."""
        place = self.table.currentIndex().row()
        return self.runs[place].id if 0 <= place < len(self.runs) else ""

    def choose(self, id: str) -> None:
        """Without such a one the first."""
        if self.runs:
            place = next((place for place, run in enumerate(self.runs) if run.id == id), 0)
            flags = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows
            self.table.selectionModel().setCurrentIndex(self._rows.index(place, 0), flags)

    def focus_list(self) -> None:
        self.table.setFocus(Qt.FocusReason.OtherFocusReason)

    def _open(self, place: int) -> None:
        if 0 <= place < len(self.runs):
            self.opened.emit(self.runs[place].id)

    def _show(self) -> None:
        runs, chosen = self._training.runs, self.chosen()
        is_same = [run.id for run in runs] == [run.id for run in self.runs]
        cells = [_cells(run) for run in runs]
        self.runs = runs
        if is_same:
            for place, row in enumerate(cells):
                self._rows.change(place, row)
        else:
            self._rows.replace(cells)
            self.choose(chosen)
        self._stack.setCurrentWidget(self._list if runs else self.empty)


def _cells(run: Run) -> list[Cell]:
    word, tone = state_words(run)
    return [
        Cell(run.name, strong=True, hint=run.name),
        Cell(run.origin.model, hint=run.origin.model),
        Cell(method_words(run)),
        Cell("", badge=word, tone=tone, mark="dot", hint=str(run.status)),
        Cell(progress_words(run)),
        Cell(number(run.latest.get("loss")), number=True),
        Cell(when_words(run)),
    ]
