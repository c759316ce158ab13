"""Other runs drawn over the one in view: which, and in which settings they differ from it.

Invariant: a run that is removed meanwhile is taken off by itself; the run in view is never offered.
"""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.services.training import Run, TrainingService
from app.ui.tokens import Space
from app.ui.training_run.setting_diff import differing, written
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, column, label
from app.ui.widgets.menu import Menu
from app.ui.widgets.page import section
from app.ui.widgets.table import Cell, Rows, Table
from core.translation import say

MOST = 5  # as many looks as lines of other runs have


class Overlay(QWidget):
    """
    Signals:
        added: id and name of a run to draw over; removed: its id

    Attributes:
        choose: the button, for the head of the charts
        ids: of what is drawn over, in this order
    """

    added = Signal(str, str)
    removed = Signal(str)

    def __init__(self, training: TrainingService, id: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self._training, self._id = training, id
        self.choose = Button(say("run_ui.compare_runs"), "ghost", "layers", trailing="down")
        self.choose.clicked.connect(self._open)
        self.table: Table | None = None
        self._same = label(say("run_ui.same_settings"), "body", "muted")
        self._body = column(self._same, gap=Space.S)
        self.setLayout(column(section(say("run_ui.settings_differ"), "", self._body)))
        self.hide()

    def _others(self) -> list[Run]:
        return [run for run in self._training.runs if run.id != self._id]

    def _open(self) -> None:
        menu = Menu(self)
        others = self._others()
        for run in others[:30]:
            menu.add(run.name, partial(self.toggle, run.id), "check" if run.id in self.ids else "")
            menu.actions()[-1].setEnabled(run.id in self.ids or len(self.ids) < MOST)
        if not others:
            menu.add(say("run_ui.no_other_runs"), lambda: None)
            menu.actions()[-1].setEnabled(False)
        menu.popup(self.choose.mapToGlobal(self.choose.rect().bottomLeft()))

    def toggle(self, id: str) -> None:
        """Draw it over, or take it off."""
        if id in self.ids:
            self.ids.remove(id)
            self.removed.emit(id)
        elif id in {run.id for run in self._training.runs}:
            self.ids.append(id)
            self.added.emit(id, self._name(id))
        self.show_settings()

    def _name(self, id: str) -> str:
        """For the legend, where no two may be the same."""
        name = self._training.run(id).name
        names = [run.name for run in self._training.runs]
        return name if names.count(name) == 1 else id

    def show_settings(self) -> None:
        known = {run.id: run for run in self._training.runs}
        for id in [id for id in self.ids if id not in known]:
            self.ids.remove(id)
            self.removed.emit(id)
        self.setVisible(bool(self.ids) and self._id in known)
        if self.isHidden():
            return
        runs = [known[self._id], *(known[id] for id in self.ids)]
        keys = differing([run.recipe for run in runs])
        self._drop_table()
        self._same.setVisible(not keys)
        if keys:
            header = [say("run_ui.setting"), *(self._name(run.id) for run in runs)]
            cells = [[Cell(key, code=True), *(_cell(run, key) for run in runs)] for key in keys]
            self.table = Table(say("run_ui.settings_differ"), Rows(header, cells), [200, *[0] * len(runs)])
            self.table.fit_height()
            self._card = Card(column(self.table), padding=1)
            self._body.addWidget(self._card)

    def _drop_table(self) -> None:
        if self.table is not None:
            self._card.hide()
            self._card.deleteLater()
            self.table = None


def _cell(run: Run, key: str) -> Cell:
    words = written(run.recipe, key)
    return Cell(words, strong=True, hint=words)
