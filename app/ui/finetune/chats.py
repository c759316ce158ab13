"""Which conversations shall become training data.

Invariant: only what the user has ticked is taken, and the conversations themselves stay as they are.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QListWidgetItem, QWidget

from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import EmptyState
from app.ui.widgets.layout import Card, Line, column, label, pane, row
from app.ui.widgets.ticks import TickList
from core import paths, store
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext

MOST = 1000
WIDTH, HEIGHT = 560, 560


class ChatsDialog(QDialog):
    """Opened empty; `fill()` brings the conversations."""

    def __init__(self, parent: QWidget, context: AppContext) -> None:
        super().__init__(parent)
        self.setWindowTitle(say("finetune_ui.chats_title"))
        self.setModal(True)
        self._context = context
        self.list = TickList(say("finetune_ui.chats_title"))
        self.list.setSpacing(Space.XS)
        self.list.itemChanged.connect(lambda _: self._count())
        self._card = Card(column(self.list), padding=Space.XS)
        self._none = EmptyState("chat", say("finetune_ui.chats_none"), say("finetune_ui.chats_none_means"))
        self._none.hide()
        intro = label(say("finetune_ui.chats_means"), "body", "soft", wrap=True)
        body = column(intro, self._card, self._none, gap=Space.M)
        body.setStretch(1, 1)
        body.setContentsMargins(Space.XL, Space.L, Space.XL, Space.L)
        self.all = Button(say("finetune_ui.chats_all"), "ghost")
        self.all.clicked.connect(lambda: self._tick(True))
        cancel = Button(say("kit.cancel"), "secondary")
        cancel.clicked.connect(self.reject)
        self.use = Button(say("finetune_ui.chats_use"), "primary")
        self.use.clicked.connect(self.accept)
        foot = row(self.all, None, cancel, self.use, gap=Space.S)
        foot.setContentsMargins(Space.XL, Space.M, Space.XL, Space.L)
        whole = column(pane(body), Line(), foot, gap=0)
        whole.setStretch(0, 1)
        self.setLayout(whole)
        room = parent.window().size()
        self.resize(min(WIDTH, room.width() - 60), min(HEIGHT, room.height() - 60))
        self._count()

    async def fill(self) -> None:
        found = await self._context.store.call(lambda s: store.conversations.recent(s, MOST))
        for one in found:
            item = QListWidgetItem(one.title or one.preview or "–")
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked)
            item.setData(Qt.ItemDataRole.UserRole, one.id)
            item.setToolTip(one.preview)
            self.list.addItem(item)
        self._card.setVisible(bool(found))
        self.all.setVisible(bool(found))
        self._none.setVisible(not found)

    def chosen(self) -> list[int]:
        """Ids of the conversations that are ticked."""
        items = [self.list.item(place) for place in range(self.list.count())]
        return [item.data(Qt.ItemDataRole.UserRole) for item in items if item.checkState() == Qt.CheckState.Checked]

    def target(self) -> Path:
        """A new file for them."""
        folder = paths.home() / "datasets"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"chats-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"

    def _tick(self, on: bool) -> None:
        for place in range(self.list.count()):
            self.list.item(place).setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

    def _count(self) -> None:
        self.use.setEnabled(bool(self.chosen()))
