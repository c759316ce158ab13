"""The error that stands on a page: above what the page shows, until it is closed or the next verb begins.

Invariant: there is one at a time, and an error of the user's world that a verb ends with is never lost.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

from app.ui.why import why
from app.ui.widgets.button import Button, IconButton
from app.ui.widgets.feedback import Banner
from app.ui.widgets.layout import column
from core.errors import UserError
from core.translation import say

if TYPE_CHECKING:
    from app.ui.window import Window

Margins = tuple[int, int, int, int]


class Notice(QWidget):
    """
    Attributes:
        words: of the error that stands there, "" when none does
    """

    def __init__(self, window: Window, title: str, margins: Margins) -> None:
        super().__init__()
        self.words = ""
        self._window, self._title = window, title
        self._lines = column(gap=0)
        self._lines.setContentsMargins(*margins)
        self.setLayout(self._lines)
        self.hide()

    async def guarded(self, work: Awaitable[None]) -> None:
        """Do it; its error stands here."""
        self.clear()
        try:
            await work
        except UserError as error:
            if isValid(self):
                self.tell(error)

    def tell(self, error: UserError, *actions: Button) -> None:
        self.clear()
        self.words = str(error)
        close = IconButton("close", say("kit.close"))
        close.clicked.connect(self.clear)
        reasons = why(self._window, error.code)
        self._lines.addWidget(Banner("bad", self._title, self.words, *actions, *reasons, close))
        self.show()

    def clear(self) -> None:
        self.words = ""
        self.hide()
        while item := self._lines.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
