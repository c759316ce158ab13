"""A context menu with rounded corners and our icons."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMenu, QWidget

from app.ui import icons, theme

WIDEST = 420  # px of an entry: names of models may be long


class Menu(QMenu):
    """QMenu styled by the sheet; translucent so that its corners are round."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowFlags(
            self.windowFlags() | Qt.WindowType.FramelessWindowHint | Qt.WindowType.NoDropShadowWindowHint
        )
        self.setAttribute(Qt.WidgetAttribute.WA_TranslucentBackground)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

    def head(self, words: str) -> None:
        """A heading over the entries that follow; it cannot be chosen."""
        self.addAction(words).setEnabled(False)

    def add(self, words: str, do: Callable[[], object], icon: str = "") -> None:
        shown = self.fontMetrics().elidedText(words, Qt.TextElideMode.ElideMiddle, WIDEST)
        action = self.addAction(shown)
        if shown != words:
            action.setToolTip(words)
            self.setToolTipsVisible(True)
        action.triggered.connect(lambda _checked=False: do())
        if icon:
            action.setIcon(icons.icon(icon, theme.colors().text_soft))
