"""What stands on the page before the first table: what will be here, and how far the starter is on its way.

Invariant: the one button does something real on any machine, fetching the starter first where it is not there.
"""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QStackedWidget

from app.services.transfers import Transfer
from app.ui.models.download_words import transfer_words
from app.ui.tokens import Size
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import EmptyState
from app.ui.widgets.layout import Card, column, pane, row
from app.ui.widgets.progress import ProgressRow
from core.translation import say


class EmptyProfiler(QStackedWidget):
    """
    Signals:
        starter_asked: compare on the starter
        new_asked: choose oneself
        cancel_asked: of the starter, while it is fetched
    """

    starter_asked = Signal()
    new_asked = Signal()
    cancel_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.starter = Button(say("profile_ui.compare_starter"), "primary", "play")
        self.starter.clicked.connect(self.starter_asked)
        new = Button(say("profile_ui.choose_myself"), "secondary", "plus")
        new.clicked.connect(self.new_asked)
        words = say("profile_ui.empty_means")
        self._state = EmptyState("profiler", say("profile_ui.empty"), words, self.starter, new)
        self.progress = ProgressRow(say("models.starter_title"))
        self.progress.cancelled.connect(self.cancel_asked)
        card = Card(column(self.progress), padding=0)
        card.setMaximumWidth(Size.FORM)
        line = row(None, card, None)
        line.setStretch(1, 8)
        line.setStretch(0, 1)
        line.setStretch(2, 1)
        self._fetching = pane(column(None, line, None))
        self.addWidget(self._state)
        self.addWidget(self._fetching)

    def show_starter(self, *, is_there: bool) -> None:
        words = say("profile_ui.compare_starter" if is_there else "profile_ui.fetch_and_compare")
        self.starter.setText(words)
        self.starter.setAccessibleName(words)
        self.starter.updateGeometry()

    def show_transfer(self, transfer: Transfer | None) -> None:
        """None: it is not on its way."""
        if transfer is not None:
            self.progress.show_progress(transfer.share, transfer_words(transfer))
        self.setCurrentWidget(self._state if transfer is None else self._fetching)
