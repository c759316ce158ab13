"""What the program says back: banner, empty state, skeleton."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, QTimer
from PySide6.QtGui import QColor, QHideEvent, QLinearGradient, QPaintEvent, QShowEvent
from PySide6.QtWidgets import QLabel, QWidget

from app.ui import icons, theme
from app.ui.tokens import Motion, Radius, Space
from app.ui.widgets.badge import Tone, tone_colors
from app.ui.widgets.button import Button
from app.ui.widgets.layout import column, label, row
from app.ui.widgets.painting import begin, box

MARK = {"ok": "done", "warn": "warn", "bad": "error", "info": "info", "accent": "info", "neutral": "info"}


class Glyph(QWidget):
    """An icon as a widget, tinted by tone."""

    def __init__(self, name: str, tone: Tone = "neutral", size: int = 18) -> None:
        super().__init__()
        self._name, self._tone, self._size = name, tone, size
        self.setFixedSize(size, size)

    def paintEvent(self, event: QPaintEvent) -> None:
        icons.paint(begin(self), self._name, 0, 0, self._size, tone_colors(self._tone)[0])


class Banner(QWidget):
    """A sentence that stays on the page: what happened, what it means, what to do."""

    def __init__(self, tone: Tone, happened: str, meaning: str = "", *actions: QWidget) -> None:
        super().__init__()
        self._tone: Tone = tone
        self.setAccessibleName(happened)
        self.setAccessibleDescription(meaning)
        words = column(label(happened, "strong", wrap=True), gap=Space.XXS)
        if meaning:
            words.addWidget(label(meaning, "caption", "soft", wrap=True))
        mark = Glyph(MARK[tone], tone)
        body = row(mark, words, *actions, gap=Space.M)
        body.setStretch(1, 1)
        if meaning:
            body.setAlignment(mark, Qt.AlignmentFlag.AlignTop)
        body.setContentsMargins(Space.L, Space.M, Space.M, Space.M)
        self.setLayout(body)

    def paintEvent(self, event: QPaintEvent) -> None:
        front, ground = tone_colors(self._tone)
        painter = begin(self)
        box(painter, QRectF(self.rect()), Radius.L, theme.with_alpha(ground, 0.6))
        edge = theme.with_alpha(front, 0.22).name(QColor.NameFormat.HexArgb)
        box(painter, QRectF(self.rect()), Radius.L, None, edge)


class EmptyState(QWidget):
    """Teaches: what will be here, and the one action that puts it there."""

    def __init__(self, icon: str, title: str, meaning: str, *actions: Button, stacked: bool = False) -> None:
        super().__init__()
        head = label(title, "heading")
        head.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        body = label(meaning, "body", "muted", wrap=True)
        body.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        body.setMinimumWidth(340)
        glyph = Glyph(icon, "neutral", 32)
        middle = column(row(None, glyph, None), Space.S, head, body, gap=Space.S)
        if actions:
            middle.addSpacing(Space.M)
            lines = [row(None, action, None) for action in actions] if stacked else [row(None, *actions, None)]
            middle.addLayout(column(*lines, gap=Space.S))
        self.setLayout(column(None, row(None, middle, None), None))


class Skeleton(QWidget):
    """Grey lines with a slow shimmer where text will be; only for waits over 300 ms."""

    def __init__(self, lines: int = 3) -> None:
        super().__init__()
        self._lines = lines
        self._phase = 0.35
        self._clock = QTimer(self)
        self._clock.setInterval(50)
        self._clock.timeout.connect(self._step)

    def showEvent(self, event: QShowEvent) -> None:
        if theme.duration(1):
            self._clock.start()

    def hideEvent(self, event: QHideEvent) -> None:
        self._clock.stop()

    def _step(self) -> None:
        self._phase = (self._phase + 50 / Motion.SHIMMER) % 1.6
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(320, self._lines * 22)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        light = QLinearGradient(self.width() * (self._phase - 0.4), 0, self.width() * (self._phase + 0.1), 0)
        light.setColorAt(0, theme.color(c.hover))
        light.setColorAt(0.5, theme.color(c.pressed))
        light.setColorAt(1, theme.color(c.hover))
        for index in range(self._lines):
            share = (0.92, 0.78, 0.86, 0.55)[index % 4]
            painter.setBrush(light)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.drawRoundedRect(QRectF(0, index * 22 + 5, self.width() * share, 11), 5, 5)


def copyable(words: str) -> QLabel:
    """A selectable caption, for paths, ids and error details."""
    result = label(words, "caption", "muted", wrap=True)
    result.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
    )
    return result
