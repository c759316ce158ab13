"""The chip in the head of the chat page: which model is in memory and how, and the adapter it answers with."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetricsF

from app.ui.widgets.button import Chip
from core.translation import say

WIDEST = 260  # px of the name: the title of the conversation needs room too


class ModelChip(Chip):
    """Opens the load options. Its name for assistive tools holds the whole text, whatever is cut on screen."""

    def __init__(self, tip: str) -> None:
        super().__init__("", "chip", opens=True)
        self._tip = tip

    def show_model(self, base: str, adapter: str, state: str, remarks: Sequence[str] = ()) -> None:
        """`state` is how it is loaded, or that it is not; `remarks` are what is to be known of it."""
        name = say("chat.with_adapter", base=base, adapter=adapter) if adapter else base
        shown = QFontMetricsF(self._font()).elidedText(name, Qt.TextElideMode.ElideMiddle, WIDEST)
        self.setText(f"{shown} · {state}")
        self.setAccessibleName(f"{name} · {state}")
        self.setToolTip("\n".join([f"{name} · {state}", *remarks, self._tip]))
        self.updateGeometry()
        self.update()
