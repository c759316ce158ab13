"""Models of other programs that were found on this machine, offered to be used where they lie.

Invariant: nothing is copied or changed by looking; the card is hidden when there is nothing to offer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui.models.offer_words import place_words
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, Elided, Line, Scroll, column, label, pane, row
from core import figures
from core.translation import say

if TYPE_CHECKING:
    from core.hub.local_cache import Cached

TALLEST = 220  # px of the open list


class FoundHere(QWidget):
    """
    Signals:
        asked: the Cached one that the library shall use
    """

    asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.models: tuple[Cached, ...] = ()
        self._takes: dict[Cached, Button] = {}
        self._busy: set[Cached] = set()
        self._words = label("", "strong", wrap=True)
        self.open_ = Button(say("models.found_show"), "secondary", small=True, trailing="down")
        self.open_.setCheckable(True)
        self.open_.toggled.connect(lambda _: self._show())
        meaning = label(say("models.found_means"), "caption", "muted", wrap=True)
        head = row(column(self._words, meaning, gap=Space.XXS), self.open_, gap=Space.L)
        head.setStretch(0, 1)
        self._lines = column(gap=0)
        self._body = pane(self._lines)
        self._list = Scroll(self._body, say("models.found_list"))
        self._list.hide()
        whole = column(Card(column(head, self._list, gap=Space.S)), gap=0)
        whole.setContentsMargins(0, 0, 0, Space.M)
        self.setLayout(whole)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.hide()

    def show_models(self, models: Sequence[Cached]) -> None:
        if tuple(models) == self.models:
            return
        self.models = tuple(models)
        count = figures.count(len(models))
        self._words.setText(say("models.found_one") if len(models) == 1 else say("models.found", count=count))
        while item := self._lines.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        self._takes = {}
        for place, model in enumerate(self.models):
            if place:
                self._add(Line())
            self._add(self._row(model))
        self._show()

    def end(self, model: Cached) -> None:
        """It was taken over, or could not be."""
        self._busy.discard(model)
        if button := self._takes.get(model):
            button.setEnabled(True)

    def _add(self, line: QWidget) -> None:
        """Shown at once: the height of the open list counts no line that is still hidden."""
        self._lines.addWidget(line)
        line.show()

    def _row(self, model: Cached) -> QWidget:
        take = Button(say("models.take_over"), "secondary", small=True)
        take.setAccessibleName(f"{say('models.take_over')}: {model.source.id}")
        take.setEnabled(model not in self._busy)
        take.clicked.connect(partial(self._take, model))
        self._takes[model] = take
        size = label(figures.size(model.size_bytes), "caption", "soft")
        place = label(place_words(model.source.place), "caption", "muted")
        name = Elided(model.source.id)
        name.hint = str(model.folder)
        line = row(name, place, size, take, gap=Space.M)
        line.setStretch(0, 1)
        line.setContentsMargins(0, Space.XS, Space.M, Space.XS)
        return pane(line)

    def _take(self, model: Cached) -> None:
        self._busy.add(model)
        self._takes[model].setEnabled(False)
        self.asked.emit(model)

    def _show(self) -> None:
        is_open = self.open_.isChecked()
        self.open_.trailing = "up" if is_open else "down"
        self.open_.update()
        self._list.setVisible(is_open)
        if is_open:
            tall = self._body.sizeHint().height() + 2
            self._list.setFixedHeight(min(TALLEST, tall))
        self.setVisible(bool(self.models))
