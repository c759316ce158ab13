"""Small painting helpers shared by widgets that draw themselves."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QFont, QFontMetricsF, QPainter, QPen
from PySide6.QtWidgets import QWidget

from app.ui.theme import color, colors

KEYBOARD = (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason, Qt.FocusReason.ShortcutFocusReason)


def begin(widget: QWidget) -> QPainter:
    """An antialiased painter on `widget`."""
    painter = QPainter(widget)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    return painter


def box(
    painter: QPainter,
    rect: QRectF,
    radius: float,
    fill: str | QColor | None = None,
    line: str | None = None,
    width: float = 1.0,
) -> None:
    """A rounded rectangle whose line lies inside `rect`."""
    inset = width / 2 if line else 0.0
    painter.setPen(QPen(color(line), width) if line else Qt.PenStyle.NoPen)
    painter.setBrush(QBrush(color(fill) if isinstance(fill, str) else fill) if fill else Qt.BrushStyle.NoBrush)
    painter.drawRoundedRect(rect.adjusted(inset, inset, -inset, -inset), radius, radius)


def focus_ring(painter: QPainter, rect: QRectF, radius: float) -> None:
    """The one focus mark of the program: a 2 px line just inside `rect`."""
    box(painter, rect, radius, None, colors().focus, 2.0)


def dot(painter: QPainter, x: float, y: float, radius: float, fill: str) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color(fill))
    painter.drawEllipse(QPointF(x, y), radius, radius)


def text(
    painter: QPainter,
    rect: QRectF,
    words: str,
    font: QFont,
    tint: str,
    align: Qt.AlignmentFlag = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter,
) -> float:
    """One line of text, elided at the right; returns its drawn width."""
    painter.setFont(font)
    painter.setPen(color(tint))
    metrics = QFontMetricsF(font)
    shown = metrics.elidedText(words, Qt.TextElideMode.ElideRight, rect.width() + 0.5)
    painter.drawText(rect, align | Qt.TextFlag.TextSingleLine, shown)
    return metrics.horizontalAdvance(shown)


def width_of(words: str, font: QFont) -> float:
    return QFontMetricsF(font).horizontalAdvance(words)
