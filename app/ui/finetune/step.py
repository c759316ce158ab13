"""What every step of the wizard is: built in pieces, told of each change of the draft.

Invariant: a step holds no choice of its own; whatever it shows it reads from the draft.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QLayout, QVBoxLayout, QWidget

from app.services.finetune_draft import Told
from app.ui.tokens import Space
from app.ui.widgets.layout import Scroll, column, pane
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window


class Step(QWidget):
    """
    Attributes:
        is_built: all of its parts are there
        lines: the column its parts stand in
    """

    NAME = ""

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self.window_, self.context, self.draft = window, context, context.finetune_draft
        self.is_built = False
        self.lines: QVBoxLayout = column(gap=Space.L)
        self.lines.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
        self.view = Scroll(pane(self.lines), say(f"finetune_ui.step_{self.NAME}"))
        self.setLayout(column(self.view, gap=0))

    def build(self) -> Iterator[None]:
        """Put the parts in, one at a time."""
        yield

    def enter(self) -> None:
        """It comes into view."""

    def show_draft(self, told: Told) -> None:
        """Something of the draft is another now; only called once it is built."""

    def leave(self) -> None:
        """It is about to be thrown away."""


def emptied(box: QLayout) -> None:
    """Take everything out of a box."""
    while item := box.takeAt(0):
        if widget := item.widget():
            widget.hide()
            widget.deleteLater()
