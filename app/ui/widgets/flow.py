"""Widgets in rows, as many in each as there is room for. Invariant: its height is that of its rows."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui.tokens import Space


class Flow(QWidget):
    def __init__(self, *items: QWidget, gap: int = Space.S) -> None:
        super().__init__()
        self.items: list[QWidget] = []
        self._gap = gap
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for item in items:
            self.add(item)

    def add(self, item: QWidget) -> None:
        item.setParent(self)
        item.show()
        self.items.append(item)
        self.arrange()

    def clear(self) -> None:
        for item in self.items:
            item.hide()
            item.deleteLater()
        self.items = []
        self.arrange()

    def arrange(self) -> None:
        x, y, tall = 0, 0, 0
        for item in self.items:
            hint = item.sizeHint()
            if x and x + hint.width() > self.width():
                x, y = 0, y + tall + self._gap
            item.setGeometry(x, y, min(hint.width(), max(80, self.width())), hint.height())
            x, tall = x + hint.width() + self._gap, hint.height()
        self.setFixedHeight(y + tall)

    def sizeHint(self) -> QSize:
        return QSize(320, self.height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.arrange()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.arrange()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:  # one of them has other words now
            self.arrange()
        return super().event(event)
