"""A Markdown table as a QTextTable with hairlines between its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import (
    QBrush,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextFrameFormat,
    QTextTable,
    QTextTableCellFormat,
    QTextTableFormat,
)

from app.ui import theme
from app.ui.tokens import Type

if TYPE_CHECKING:
    from markdown_it.token import Token

    from app.ui.widgets.markdown import Writer

_SIDES = {
    "text-align:right": Qt.AlignmentFlag.AlignRight,
    "text-align:center": Qt.AlignmentFlag.AlignHCenter,
}


class TableWriter:
    """Puts one table at the cursor, which ends inside its last cell."""

    def __init__(self, writer: Writer, cursor: QTextCursor, gap: int, indent: int) -> None:
        self._writer = writer
        self._cursor = cursor
        self._gap = gap
        self._indent = indent

    def write(self, tokens: list[Token]) -> None:
        rows = _rows(tokens)
        columns = max(len(row) for row in rows)
        table = self._cursor.insertTable(len(rows), columns, self._look())
        for place, row in enumerate(rows):
            for column, (side, head, inline) in enumerate(row):
                self._cell(table, place, column, side, head, inline)
        self._close(table)

    def _look(self) -> QTextTableFormat:
        look = QTextTableFormat()
        look.setBorder(0)
        look.setCellSpacing(0)
        look.setCellPadding(0)
        look.setBorderCollapse(True)
        look.setTopMargin(self._gap)
        look.setBottomMargin(0)
        look.setLeftMargin(self._indent)
        return look

    def _cell(
        self, table: QTextTable, row: int, column: int, side: Qt.AlignmentFlag | None, head: bool, inline: Token
    ) -> None:
        cell = table.cellAt(row, column)
        look = QTextTableCellFormat()
        look.setBottomBorder(1)
        look.setBottomBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
        look.setBottomBorderBrush(QBrush(theme.color(theme.colors().border_strong)))
        look.setTopPadding(4)
        look.setBottomPadding(5)
        look.setLeftPadding(0 if column == 0 else 14)
        look.setRightPadding(14)
        cell.setFormat(look)
        rhythm = QTextBlockFormat()
        rhythm.setLineHeight(
            round(Type.PROSE.size * Type.PROSE.line * theme.state.text_scale),
            QTextBlockFormat.LineHeightTypes.MinimumHeight.value,
        )
        if side is not None:
            rhythm.setAlignment(side)
        base = QTextCharFormat()
        if head:
            base.setForeground(theme.color(theme.colors().text_muted))
            base.setFontWeight(500)
        self._cursor.setPosition(cell.firstPosition())
        self._cursor.setBlockFormat(rhythm)
        self._writer.inline(inline.children or [], base)

    def _close(self, table: QTextTable) -> None:
        """Qt keeps an empty paragraph behind a table: it gets no height until the next block takes it."""
        self._cursor.setPosition(table.lastPosition() + 1)
        flat = QTextBlockFormat()
        flat.setLineHeight(0.01, QTextBlockFormat.LineHeightTypes.FixedHeight.value)
        self._cursor.setBlockFormat(flat)


def _rows(tokens: list[Token]) -> list[list[tuple[Qt.AlignmentFlag | None, bool, Token]]]:
    """The cells of every row: alignment, whether it is a heading, its text."""
    rows: list[list[tuple[Qt.AlignmentFlag | None, bool, Token]]] = []
    for index, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            side = _SIDES.get(str(token.attrGet("style") or "").replace(" ", ""))
            rows[-1].append((side, token.type == "th_open", tokens[index + 1]))
    return rows
