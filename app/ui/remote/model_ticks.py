"""The models that a machine offers, each with a tick for the chat. Some servers have hundreds: they can be searched.

Invariant: a model that was chosen stays chosen while it is filtered away.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QListWidgetItem, QWidget

from app.ui.tokens import Space
from app.ui.widgets.fields import SearchField
from app.ui.widgets.layout import Card, column, label, row
from app.ui.widgets.ticks import TickList
from core import figures
from core.remote_engine import RemoteModel
from core.translation import say

MANY = 8  # models, from which on there is a search
LEAST = 96  # px of the list


class ModelTicks(QWidget):
    """
    Signals:
        changed: other models are ticked
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.list = TickList(say("remote.models"))
        self.list.setSpacing(Space.XXS)
        self.list.setMinimumHeight(LEAST)
        self.list.itemChanged.connect(lambda _: self.changed.emit())
        self.search = SearchField(say("remote.filter"))
        self.search.textChanged.connect(self._filter)
        self._count = label("", "caption", "muted")
        self._hint = label("", "caption", "muted", wrap=True)
        self._card = Card(column(self.list), padding=Space.XS)
        head = row(label(say("remote.models"), "strong"), None, self._count, gap=Space.M)
        whole = column(head, self.search, self._card, self._hint, None, gap=Space.XS)
        whole.setStretch(2, 10)
        self.setLayout(whole)
        self.clear()

    def clear(self) -> None:
        """Nothing is known of the models."""
        self._fill((), ())
        self._count.setText("")
        self._hint.setText(say("remote.models_hint"))

    def show_models(self, models: Sequence[RemoteModel], chosen: Sequence[RemoteModel]) -> None:
        """chosen: those ticked before, by their ids; where none of them is left, the first one is."""
        ids = {model.id for model in chosen} & {model.id for model in models}
        self._fill(models, ids or {model.id for model in models[:1]})
        one = len(models) == 1
        self._count.setText(say("remote.model_found") if one else say("remote.models_found", count=len(models)))
        self._hint.setText("" if models else say("remote.models_none"))
        self._hint.setVisible(not models)

    def chosen(self) -> tuple[RemoteModel, ...]:
        items = [self.list.item(place) for place in range(self.list.count())]
        ticked = [item for item in items if item.checkState() == Qt.CheckState.Checked]
        return tuple(item.data(Qt.ItemDataRole.UserRole) for item in ticked)

    def _fill(self, models: Sequence[RemoteModel], ids: set[str] | tuple[()]) -> None:
        quiet = self.list.blockSignals(True)
        self.list.clear()
        self.search.clear()
        for model in models:
            length = say("remote.length", count=figures.count(model.context_length)) if model.context_length else ""
            item = QListWidgetItem(f"{model.id}  ·  {length}" if length else model.id)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if model.id in ids else Qt.CheckState.Unchecked)
            item.setData(Qt.ItemDataRole.UserRole, model)
            self.list.addItem(item)
        self.list.blockSignals(quiet)
        self._card.setVisible(bool(models))
        self.search.setVisible(len(models) > MANY)
        self._hint.setVisible(not models)

    def _filter(self, words: str) -> None:
        wanted = words.casefold().split()
        for place in range(self.list.count()):
            item = self.list.item(place)
            item.setHidden(not all(word in item.text().casefold() for word in wanted))
