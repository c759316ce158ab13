"""What stands in the transcript's place while there is nothing to show: no model, its download, a first question.

Invariant: each state says what will be here and offers the one action that puts it there.
"""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QStackedWidget, QVBoxLayout, QWidget

from app.services.transfers import Transfer
from app.ui.models.download_words import transfer_words
from app.ui.tokens import Size, Space
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Banner, EmptyState
from app.ui.widgets.layout import Card, column, pane, row
from app.ui.widgets.progress import ProgressRow
from core.errors import UserError
from core.translation import say

EXAMPLES = ("example_explain", "example_write", "example_code")


class EmptyChat(QStackedWidget):
    """
    Signals:
        fetch_asked, models_asked, cancel_asked
        example_chosen: a question to put into the message box
    """

    fetch_asked = Signal()
    models_asked = Signal()
    cancel_asked = Signal()
    example_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        fetch = Button(say("chat.fetch_starter"), "primary", "download")
        fetch.clicked.connect(self.fetch_asked)
        see = Button(say("chat.see_models"), "secondary")
        see.clicked.connect(self.models_asked)
        self._failed: QVBoxLayout = column(gap=0)
        state = EmptyState("models", say("chat.no_model_title"), say("chat.no_model_body"), fetch, see)
        no_model = column(self._centred(pane(self._failed)), state, gap=0)
        no_model.setStretch(1, 1)
        self._no_model = pane(no_model)
        self._progress = ProgressRow(say("models.starter_title"))
        self._progress.cancelled.connect(self.cancel_asked)
        card = Card(column(self._progress), padding=0)
        self._fetching = pane(column(None, self._centred(card), None))
        questions = []
        for name in EXAMPLES:
            button = Button(say(f"chat.{name}"), "secondary", small=True)
            button.clicked.connect(lambda _=False, words=button.text(): self.example_chosen.emit(words))
            questions.append(button)
        self._first = EmptyState("chat", say("chat.empty_title"), say("chat.empty_body"), *questions, stacked=True)
        for part in (self._no_model, self._fetching, self._first):
            self.addWidget(part)

    def show_no_model(self) -> None:
        self.setCurrentWidget(self._no_model)

    def show_first_question(self) -> None:
        self.setCurrentWidget(self._first)

    def show_transfer(self, transfer: Transfer) -> None:
        self._clear_error()
        self._progress.show_progress(transfer.share, transfer_words(transfer))
        self.setCurrentWidget(self._fetching)

    def show_error(self, error: UserError) -> None:
        """The download did not work: why, above the offer to try again."""
        self._clear_error()
        self._failed.addWidget(Banner("bad", say("models.failed"), str(error)))
        self.show_no_model()

    def _clear_error(self) -> None:
        while item := self._failed.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()

    def _centred(self, widget: QWidget) -> QWidget:
        widget.setMaximumWidth(Size.READING)
        line = row(widget)
        line.setContentsMargins(Space.XL, Space.L, Space.XL, 0)
        return pane(line)
