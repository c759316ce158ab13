"""All tables that were measured: opened, compared, deleted from here.

Invariant: an update keeps what is chosen; two can be chosen to be compared, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QItemSelectionModel, QPoint, Signal
from PySide6.QtWidgets import QAbstractItemView, QWidget

from app.ui.profiler.words import run_state, when
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, column, label, row
from app.ui.widgets.table import Cell, Rows, Table
from core.store.records import ProfileRun
from core.translation import say

COLUMNS = (("id", 64), ("name", 0), ("kind", 190), ("state", 160), ("cells", 92), ("device", 230), ("when", 148))
SPARE = (5, 2)


class RunsView(QWidget):
    """
    Signals:
        opened: the number of a table
        compare_asked: the numbers of two, the older first
        menu_asked: the number of a table, and where its menu shall open
    """

    opened = Signal(int)
    compare_asked = Signal(int, int)
    menu_asked = Signal(int, QPoint)

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[ProfileRun] = []
        self._rows = Rows([say(f"profile_ui.run_{name}") for name, _ in COLUMNS], [])
        self.table = Table(say("profile_ui.runs"), self._rows, [width for _, width in COLUMNS], tall=True)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.give_way(SPARE, 230)
        self.table.chosen.connect(lambda place: self.opened.emit(self.runs[place].id))
        self.table.menu_asked.connect(lambda place, where: self.menu_asked.emit(self.runs[place].id, where))
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._show_choice())
        self.open = Button(say("profile_ui.open"), "secondary", small=True)
        self.open.clicked.connect(self._open)
        self.compare = Button(say("profile_ui.compare"), "secondary", "layers", small=True)
        self.compare.clicked.connect(self._compare)
        self.hint = label(say("profile_ui.compare_hint"), "caption", "muted", wrap=True)
        line = row(self.hint, self.open, self.compare)
        line.setStretch(0, 1)
        whole = column(line, Card(column(self.table), padding=1))
        whole.setStretch(1, 1)
        self.setLayout(whole)
        self._show_choice()

    def show_runs(self, runs: Sequence[ProfileRun]) -> None:
        chosen = self.chosen()
        self.runs = list(runs)
        self._rows.replace([_row(run) for run in runs])
        self.choose(chosen)

    def chosen(self) -> list[int]:
        """Newest first, as they stand."""
        places = sorted(index.row() for index in self.table.selectionModel().selectedRows())
        return [self.runs[place].id for place in places if place < len(self.runs)]

    def choose(self, ids: Sequence[int]) -> None:
        flags = QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
        places = [place for place, run in enumerate(self.runs) if run.id in ids]
        for place in places or ([0] if self.runs else []):
            self.table.selectionModel().setCurrentIndex(self._rows.index(place, 0), flags)

    def _show_choice(self) -> None:
        count = len(self.chosen())
        self.open.setEnabled(count == 1)
        self.compare.setEnabled(count == 2)
        self.hint.setText(say("profile_ui.compare_ready" if count == 2 else "profile_ui.compare_hint"))

    def _open(self) -> None:
        if chosen := self.chosen():
            self.opened.emit(chosen[0])

    def _compare(self) -> None:
        chosen = self.chosen()
        if len(chosen) == 2:
            self.compare_asked.emit(chosen[1], chosen[0])


def _row(run: ProfileRun) -> list[Cell]:
    state, tone = run_state(run)
    kind = say(f"profile_ui.kind_{run.plan.preset}") if run.plan.preset else say("profile_ui.kind_any")
    return [
        Cell(str(run.id), number=True),
        Cell(run.name, strong=True, hint=run.name),
        Cell(kind),
        Cell("", badge=state, tone=tone, mark="dot"),
        Cell(f"{run.measured} / {run.cells}", number=True),
        Cell(run.device, hint=run.device),
        Cell(when(run.created)),
    ]
