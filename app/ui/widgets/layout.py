"""Shorthand for boxes, labels and cards, so that pages read like their layout."""

from __future__ import annotations

from typing import TypeVar

from PySide6.QtCore import QCoreApplication, QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QScrollArea,
    QScrollBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app.ui.theme import color, colors
from app.ui.tokens import Radius, Space
from app.ui.widgets.painting import begin, box

Box = TypeVar("Box", QVBoxLayout, QHBoxLayout)


def column(*items: QWidget | QLayout | int | None, gap: int = Space.S, margin: int = 0) -> QVBoxLayout:
    """A vertical box. An int is a gap, None is a stretch."""
    return _fill(QVBoxLayout(), items, gap, margin)


def row(*items: QWidget | QLayout | int | None, gap: int = Space.S, margin: int = 0) -> QHBoxLayout:
    """A horizontal box. An int is a gap, None is a stretch."""
    return _fill(QHBoxLayout(), items, gap, margin)


def _fill(target: Box, items: tuple[object, ...], gap: int, margin: int) -> Box:
    target.setSpacing(gap)
    target.setContentsMargins(margin, margin, margin, margin)
    for item in items:
        if item is None:
            target.addStretch(1)
        elif isinstance(item, int):
            target.addSpacing(item)
        elif isinstance(item, QLayout):
            target.addLayout(item)
        elif isinstance(item, QWidget):
            target.addWidget(item)
    return target


def settle_layouts(levels: int = 12) -> None:
    """Now, what would climb one level in each turn of the loop, with a wrong picture in every one."""
    for _ in range(levels):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest)


def pane(layout: QLayout, ground: str = "none") -> QWidget:
    """A plain widget holding `layout` on one of the grounds of the tokens."""
    result = QWidget()
    result.setProperty("ground", ground)
    result.setAttribute(Qt.WidgetAttribute.WA_StyledBackground, ground != "none")
    result.setLayout(layout)
    return result


def label(words: str, type_: str = "body", tone: str = "", *, wrap: bool = False) -> QLabel:
    """A text in one step of the type scale and one tone."""
    result = QLabel(words)
    result.setProperty("type", type_)
    result.setProperty("tone", tone)
    result.setWordWrap(wrap)
    if not wrap:
        result.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
    result.setTextFormat(Qt.TextFormat.PlainText)
    return result


class Elided(QLabel):
    """A one-line label that gives way: it ends in an ellipsis and keeps the whole text as its tooltip. `hint` is said
    there instead, where there is more to say."""

    hint = ""

    def __init__(self, words: str, type_: str = "body", tone: str = "") -> None:
        super().__init__(words)
        self.setProperty("type", type_)
        self.setProperty("tone", tone)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:
        return QSize(0, super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = begin(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        shown = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())
        self.setToolTip(self.hint or (self.text() if shown != self.text() else ""))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)


class Card(QFrame):
    """A raised, bordered surface. `tight` for lists that bring their own padding."""

    def __init__(self, layout: QLayout | None = None, *, padding: int = Space.L, ground: str = "raised") -> None:
        super().__init__()
        self._ground = ground
        if layout is not None:
            layout.setContentsMargins(padding, padding, padding, padding)
            self.setLayout(layout)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = begin(self)
        box(painter, QRectF(self.rect()), Radius.L, getattr(colors(), self._ground), colors().border)


class Line(QWidget):
    """A hairline, horizontal or vertical."""

    def __init__(self, *, vertical: bool = False) -> None:
        super().__init__()
        if vertical:
            self.setFixedWidth(1)
        else:
            self.setFixedHeight(1)

    def paintEvent(self, event: QPaintEvent) -> None:
        begin(self).fillRect(self.rect(), color(colors().border))


class Scroll(QScrollArea):
    """A vertical scroll area without a frame. Its bar lies over the content, so that nothing shifts when it comes.

    With a name it takes part in the Tab order, for content that is only read; forms bring their own focus.
    """

    def __init__(self, body: QWidget, name: str = "") -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus if name else Qt.FocusPolicy.NoFocus)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._bar = QScrollBar(Qt.Orientation.Vertical, self)
        self._bar.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._bar.hide()
        inner = self.verticalScrollBar()
        inner.rangeChanged.connect(self._follow)
        inner.valueChanged.connect(self._bar.setValue)
        self._bar.valueChanged.connect(inner.setValue)
        body.setProperty("ground", "none")
        self.setWidget(body)
        self.viewport().setAutoFillBackground(False)

    def _follow(self, low: int, high: int) -> None:
        self._bar.setRange(low, high)
        self._bar.setPageStep(self.verticalScrollBar().pageStep())
        self._bar.setVisible(high > low)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._bar.setGeometry(self.width() - 11, 0, 11, self.height())
        self._bar.raise_()

    def minimumSizeHint(self) -> QSize:
        return QSize(200, 120)
