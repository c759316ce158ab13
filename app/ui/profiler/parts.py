"""What the parts of the page are made of: headed sections, tables whose rows open a cell, a choice by key.

Invariant: a section that has nothing to say is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import QModelIndex, QSize, Signal
from PySide6.QtWidgets import QWidget

from app.ui import theme
from app.ui.tokens import Size, Space
from app.ui.widgets.button import Select
from app.ui.widgets.layout import Card, Elided, column, label, pane, row
from app.ui.widgets.menu import Menu
from app.ui.widgets.table import Cell, Rows, Table
from core.translation import say

Keyed = Sequence[tuple[Sequence[str], Sequence[Cell]]]
"""Rows with the keys of the cells of the table under their columns; one key counts for all of them."""


class Section(QWidget):
    """
    Signals:
        asked: the key of a cell whose details shall be shown
    """

    asked = Signal(str)

    def __init__(self, title: str, remark: str = "", *controls: QWidget) -> None:
        super().__init__()
        self.remark = Elided(remark, "caption", "muted")
        head = row(label(title, "heading"), self.remark, *controls, gap=Space.M)
        head.setStretch(1, 1)
        bar = pane(head)
        bar.setFixedHeight(Size.CONTROL)
        self.controls = controls
        self.body = column(gap=Space.S)
        self.setLayout(column(bar, self.body, gap=Space.S))

    def add(self, widget: QWidget, stretch: int = 0) -> None:
        self.body.addWidget(widget, stretch)


class CellTable(QWidget):
    """A table in a card, as tall as its rows. A new header makes a new table.

    Signals:
        asked: the key of a cell, by a click or Enter
    """

    asked = Signal(str)

    def __init__(self, name: str, *, tall: bool = False, spare: Sequence[int] = (), least: int = 170) -> None:
        super().__init__()
        self.table: Table | None = None
        self._name, self._tall, self._spare, self._least = name, tall, tuple(spare), least
        self._header: list[str] = []
        self._keys: list[Sequence[str]] = []
        self._place = column(gap=0)
        self.note = label("", "caption", "muted", wrap=True)
        self.note.hide()
        self.setLayout(column(pane(self._place), self.note, gap=Space.XS))

    def set_spare(self, spare: Sequence[int]) -> None:
        """The columns that go first where room is scarce; before rows of another header are shown."""
        self._spare = tuple(spare)

    def set_tall(self, tall: bool) -> None:
        """Room for second lines."""
        if tall != self._tall:
            self._tall, self._header = tall, []

    def show_rows(self, header: Sequence[str], widths: Sequence[int], rows: Keyed, hints: Sequence[str] = ()) -> None:
        self._keys = [keys for keys, _ in rows]
        cells = [list(cells) for _, cells in rows]
        if self.table is None or self._header != list(header):
            self._make(Rows(header, cells, hints), widths)
            self._header = list(header)
            return
        model = self.table.model()
        assert isinstance(model, Rows)
        if model.rowCount() == len(cells):
            for place, line in enumerate(cells):
                model.change(place, line)
        else:
            model.replace(cells)
            self.table.fit_height()

    def _make(self, rows: Rows, widths: Sequence[int]) -> None:
        while item := self._place.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        self.table = Table(self._name, rows, widths, tall=self._tall)
        self.table.gave_way.connect(self._say_what_is_gone)
        self.table.give_way(self._spare, self._least)
        self.table.fit_height()
        self.table.clicked.connect(self._ask)
        self.table.chosen.connect(lambda _: self._ask(self.table.currentIndex()) if self.table else None)
        self._place.addWidget(Card(column(self.table), padding=1))

    def _say_what_is_gone(self) -> None:
        gone = self.table.gone if self.table is not None else []
        self.note.setText(say("profile_ui.columns_hidden", names=say("profile_ui.list_comma").join(gone)))
        self.note.setVisible(bool(gone))

    def _ask(self, index: QModelIndex) -> None:
        keys = self._keys[index.row()] if 0 <= index.row() < len(self._keys) else ()
        key = keys[0] if len(keys) == 1 else keys[index.column()] if index.column() < len(keys) else ""
        if key:
            self.asked.emit(key)


class KeyChoice(Select):
    """A choice whose values have keys, so that two of one name stay two.

    Signals:
        picked: the key
    """

    picked = Signal(str)

    def __init__(self, name: str) -> None:
        super().__init__(name, [""])
        self._widest = 0
        self.key = ""
        self._choices: list[tuple[str, str]] = []

    def keep_below(self, widest: int) -> None:
        """In px at the usual text size, where there is less room than choices usually have; 0: as usual."""
        self._widest = widest
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        hint = super().sizeHint()
        widest = round(self._widest * theme.state.text_scale) or hint.width()
        return QSize(min(hint.width(), widest), hint.height())

    def show_choices(self, choices: Sequence[tuple[str, str]], key: str) -> None:
        """Nobody is told."""
        self._choices, self.key = list(choices), key
        self._show(key)

    def pick(self, key: str) -> None:
        self.key = key
        self._show(key)
        self.picked.emit(key)

    def _show(self, key: str) -> None:
        """Cut where it is long, and then whole as its tooltip."""
        words = dict(self._choices).get(key, "")
        self.show_value(words)
        self.setToolTip(words)

    def _open(self) -> None:
        menu = Menu(self)
        for key, words in self._choices:
            menu.add(words, partial(self.pick, key), "check" if key == self.key else "")
        menu.setMinimumWidth(self.width())
        menu.popup(self.mapToGlobal(self.rect().bottomLeft()))
