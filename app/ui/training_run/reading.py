"""What lies over the page of a run while its files are read and its parts find their places.

Invariant: below it nothing is seen that is not yet true; a wait that nobody notices shows nothing.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QWidget

from app.ui import theme
from app.ui.tokens import Space
from app.ui.widgets.feedback import Skeleton
from app.ui.widgets.layout import column, label, pane
from app.ui.widgets.painting import begin
from core.translation import say

NOTICED_MS = 300


class Reading(QWidget):
    """As large as `page`, which it hides."""

    def __init__(self, page: QWidget) -> None:
        super().__init__(page)
        self.setAccessibleName(say("run_ui.reading"))
        whole = column(label(say("run_ui.reading"), "body", "soft"), Skeleton(4), None, gap=Space.M)
        whole.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
        self._words = pane(whole)
        self._words.hide()
        self.setLayout(column(self._words, gap=0))
        page.installEventFilter(self)
        self.setGeometry(page.rect())
        self.show()
        self.raise_()
        QTimer.singleShot(NOTICED_MS, self._words, self._words.show)

    def end(self) -> None:
        self.hide()
        self.deleteLater()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and isinstance(watched, QWidget):
            self.setGeometry(watched.rect())
        return False

    def paintEvent(self, event: QPaintEvent) -> None:
        begin(self).fillRect(self.rect(), theme.color(theme.colors().surface))
