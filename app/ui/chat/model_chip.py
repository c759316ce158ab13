"""The chip in the head of the chat page: which model is in memory and how, and the adapter it answers with."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QFontMetricsF
from PySide6.QtWidgets import QWidget

from app.ui.widgets.button import Chip
from core.translation import say

WIDEST, LEAST = 260, 80  # px of the name: the title of the conversation needs room too
SHARE, AROUND = 0.4, 56  # of the head for the chip; px of it around the words


class ModelChip(Chip):
    """Opens the load options. Its name for assistive tools holds the whole text, whatever is cut on screen: in a narrow
    head first how it is loaded, then the middle of the name."""

    def __init__(self, tip: str) -> None:
        super().__init__("", "chip", opens=True)
        self._tip, self._shown = tip, ("", "")
        self._room = 10_000.0

    def share(self, head: QWidget) -> None:
        """Take no more than its part of this head, however wide that becomes."""
        head.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and isinstance(watched, QWidget):
            self._room = watched.width() * SHARE - AROUND
            self._fit()
        return False

    def show_model(self, base: str, adapter: str, state: str, remarks: Sequence[str] = ()) -> None:
        """`state` is how it is loaded, or that it is not; `remarks` are what is to be known of it."""
        name = say("chat.with_adapter", base=base, adapter=adapter) if adapter else base
        self._shown = name, state
        self._fit()
        self.setAccessibleName(f"{name} · {state}")
        self.setToolTip("\n".join([f"{name} · {state}", *remarks, self._tip]))

    def _fit(self) -> None:
        name, state = self._shown
        metrics = QFontMetricsF(self._font())
        room = max(LEAST, self._room)
        shown = metrics.elidedText(name, Qt.TextElideMode.ElideMiddle, min(WIDEST, room))
        whole = f"{shown} · {state}"
        self.setText(whole if metrics.horizontalAdvance(whole) <= room else shown)
        self.updateGeometry()
        self.update()
