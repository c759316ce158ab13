"""What stands beside the lines of prose: bullets, numbers and boxes of lists, rails of quotations, rulers.

Painted, because Qt sets its own list marks too close and knows no rails. Reads the block properties the writer sets.
"""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QFontMetricsF, QPainter, QTextBlock, QTextDocument

from app.ui import icons, theme
from app.ui.tokens import Type
from app.ui.widgets.markdown import BULLETS, DONE_TASK, INDENT, MARK, OPEN_TASK, QUOTE, RULE
from app.ui.widgets.painting import box

RAIL = 14


def paint(painter: QPainter, document: QTextDocument, area: QRectF) -> None:
    """Paint the marks of the blocks within `area`."""
    layout = document.documentLayout()
    block = document.begin()
    while block.isValid():
        rect = layout.blockBoundingRect(block)
        if rect.top() > area.bottom():
            return
        if rect.bottom() >= area.top():
            _paint_block(painter, block, rect)
        block = block.next()


def _paint_block(painter: QPainter, block: QTextBlock, rect: QRectF) -> None:
    look = block.blockFormat()
    c = theme.colors()
    if look.hasProperty(RULE):
        painter.fillRect(QRectF(rect.left(), rect.center().y(), rect.width(), 1), theme.color(c.border))
    above = block.previous().blockFormat().intProperty(QUOTE)
    for level in range(look.intProperty(QUOTE)):
        joint = look.topMargin() if above > level else 0  # the gap to the rail above is filled
        rail = QRectF(RAIL * level, rect.top() - joint, 3, rect.height() + joint)
        painter.fillRect(rail, theme.color(c.border_strong))
    if look.hasProperty(MARK) and block.layout().lineCount():
        line = block.layout().lineAt(0)
        baseline = block.layout().position().y() + line.y() + line.ascent()
        _paint_mark(painter, look.stringProperty(MARK), look.indent() * INDENT + look.leftMargin(), baseline)


def _paint_mark(painter: QPainter, mark: str, left: float, baseline: float) -> None:
    c = theme.colors()
    font = theme.font(Type.PROSE, tabular=True)
    middle = baseline - QFontMetricsF(font).xHeight() / 2
    if mark in (OPEN_TASK, DONE_TASK):
        _paint_task(painter, QRectF(left - 20, middle - 7, 14, 14), mark == DONE_TASK)
    elif mark in BULLETS:
        at = QPointF(left - 13, middle)
        painter.setPen(theme.color(c.text_soft))
        painter.setBrush(theme.color(c.text_soft) if mark == BULLETS[0] else Qt.BrushStyle.NoBrush)
        if mark == BULLETS[2]:
            painter.fillRect(QRectF(at.x() - 2, at.y() - 2, 4, 4), theme.color(c.text_soft))
        else:
            painter.drawEllipse(at, 2.2, 2.2)
    else:
        painter.setFont(font)
        painter.setPen(theme.color(c.text_soft))
        painter.drawText(QPointF(left - 8 - QFontMetricsF(font).horizontalAdvance(mark), baseline), mark)


def _paint_task(painter: QPainter, square: QRectF, done: bool) -> None:
    c = theme.colors()
    box(painter, square, 3, c.accent if done else None, c.accent if done else c.control, 1.2)
    if done:
        icons.paint(painter, "check", square.left() + 1, square.top() + 1, 12, c.on_accent)
