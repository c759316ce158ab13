"""What stands beside the lines of prose: bullets, numbers and boxes of lists, rails of quotations, rulers.

Painted, because Qt sets its own list marks too close and knows no rails. Reads the block properties the writer sets.
"""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QTextBlock, QTextDocument

from app.ui import icons, theme
from app.ui.tokens import Type
from app.ui.widgets.markdown import BULLETS, DONE_TASK, INDENT, MARK, OPEN_TASK, QUOTE, RULE, line_px
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
    if look.hasProperty(RULE):
        painter.fillRect(QRectF(rect.left(), rect.center().y(), rect.width(), 1), theme.color(theme.colors().border))
    above = block.previous().blockFormat().intProperty(QUOTE)
    for level in range(look.intProperty(QUOTE)):
        joined = look.topMargin() if above > level else 0
        rail = QRectF(RAIL * level, rect.top() - joined, 3, rect.height() + joined)
        box(painter, rail, 0 if joined else 1.5, theme.colors().border_strong)
    if look.hasProperty(MARK):
        left = look.indent() * INDENT + look.leftMargin()
        _paint_mark(painter, look.stringProperty(MARK), left, rect.top(), block.layout().lineAt(0).height())


def _paint_mark(painter: QPainter, mark: str, left: float, top: float, height: float) -> None:
    c = theme.colors()
    middle = top + height - line_px(Type.PROSE) / 2
    if mark in (OPEN_TASK, DONE_TASK):
        square = QRectF(left - 20, middle - 7, 14, 14)
        box(
            painter,
            square,
            3,
            c.accent if mark == DONE_TASK else None,
            c.accent if mark == DONE_TASK else c.control,
            1.2,
        )
        if mark == DONE_TASK:
            icons.paint(painter, "check", square.left() + 1, square.top() + 1, 12, c.on_accent)
    elif mark in BULLETS:
        at = QPointF(left - 13, middle)
        painter.setPen(theme.color(c.text_soft))
        painter.setBrush(theme.color(c.text_soft) if mark != BULLETS[1] else Qt.BrushStyle.NoBrush)
        if mark == BULLETS[2]:
            painter.fillRect(QRectF(at.x() - 2, at.y() - 2, 4, 4), theme.color(c.text_soft))
        else:
            painter.drawEllipse(at, 2.2, 2.2)
    else:
        painter.setFont(theme.font(Type.PROSE, tabular=True))
        painter.setPen(theme.color(c.text_soft))
        rect = QRectF(left - 60, middle - 15, 52, 30)
        painter.drawText(rect, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, mark)
