"""Badges: a word on a tinted ground, optionally with a dot or an icon. Never colour alone."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui import icons, theme
from app.ui.tokens import Radius, Type
from app.ui.widgets.painting import begin, box, dot, text, width_of

Tone = Literal["neutral", "accent", "ok", "warn", "bad", "info"]
HEIGHT = 20  # at the usual text size


def tone_colors(tone: Tone) -> tuple[str, str]:
    """Text colour and ground of a tone."""
    c = theme.colors()
    table = {
        "neutral": (c.text_soft, c.hover),
        "accent": (c.accent_text, c.accent_soft),
        "ok": (c.ok, c.ok_soft),
        "warn": (c.warn, c.warn_soft),
        "bad": (c.bad, c.bad_soft),
        "info": (c.info, c.info_soft),
    }
    return table[tone]


def badge_height() -> int:
    """Room for the words at the text size in force."""
    return max(HEIGHT, round(HEIGHT * theme.state.text_scale))


def badge_width(words: str, mark: str) -> float:
    return width_of(words, theme.font(Type.CAPTION_STRONG)) + 14 + (14 if mark else 0)


def paint_badge(painter: QPainter, x: float, y: float, words: str, tone: Tone, mark: str = "") -> float:
    """Draw a badge at (x, y); returns its width. `mark` is "dot" or an icon name."""
    front, ground = tone_colors(tone)
    width, height = badge_width(words, mark), badge_height()
    box(painter, QRectF(x, y, width, height), Radius.S + 1, ground)
    lead = x + 7
    if mark == "dot":
        dot(painter, lead + 3, y + height / 2, 3, front)
        lead += 12
    elif mark:
        icons.paint(painter, mark, lead - 2, y + (height - 14) / 2, 14, front)
        lead += 14
    text(painter, QRectF(lead, y, width, height), words, theme.font(Type.CAPTION_STRONG), front)
    return width


class Badge(QWidget):
    """A badge as a widget."""

    def __init__(self, words: str, tone: Tone = "neutral", mark: str = "") -> None:
        super().__init__()
        self._words = words
        self._tone: Tone = tone
        self._mark = mark
        self.setAccessibleName(words)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def show_state(self, words: str, tone: Tone, mark: str = "") -> None:
        self._words, self._tone, self._mark = words, tone, mark
        self.setAccessibleName(words)
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(round(badge_width(self._words, self._mark) + 1), badge_height())

    def paintEvent(self, event: QPaintEvent) -> None:
        paint_badge(begin(self), 0, 0, self._words, self._tone, self._mark)
