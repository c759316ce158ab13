"""A calm table: no grid, tall rows, hairlines; cells are painted by one delegate from small records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt
from PySide6.QtGui import QFocusEvent, QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
)

from app.ui import icons, theme
from app.ui.tokens import Space, Type
from app.ui.widgets.badge import Tone, badge_height, paint_badge
from app.ui.widgets.painting import KEYBOARD, text

Index = QModelIndex | QPersistentModelIndex
CELL = Qt.ItemDataRole.UserRole


@dataclass(frozen=True, slots=True)
class Cell:
    """What one cell shows: a text with an optional second line, or a badge with an optional text after it. `indent`
    sets it in: it belongs to the row above."""

    words: str
    second: str = ""
    badge: str = ""
    tone: Tone = "neutral"
    mark: str = ""
    number: bool = False
    strong: bool = False
    code: bool = False
    indent: bool = False


class Rows(QAbstractTableModel):
    """A table model over rows of cells."""

    def __init__(self, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        super().__init__()
        self._header, self._rows = list(header), [list(row) for row in rows]

    def replace(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Other rows under the same header."""
        self.beginResetModel()
        self._rows = [list(row) for row in rows]
        self.endResetModel()

    def rowCount(self, parent: Index = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self._header)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        cell = self._rows[index.row()][index.column()]
        if role == CELL:
            return cell
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return " ".join(part for part in (cell.badge, cell.words, cell.second) if part)
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._header[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            number = bool(self._rows) and self._rows[0][section].number
            side = Qt.AlignmentFlag.AlignRight if number else Qt.AlignmentFlag.AlignLeft
            return side | Qt.AlignmentFlag.AlignVCenter
        return None


class CellDelegate(QStyledItemDelegate):
    """Paints cells from tokens."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        c = theme.colors()
        cell: Cell = index.data(CELL)
        rect = QRectF(option.rect)
        state = option.state
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if state & QStyle.StateFlag.State_Selected:
            painter.fillRect(rect, theme.color(c.accent_soft))
        elif state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(rect, theme.color(c.hover))
        last = index.row() == index.model().rowCount() - 1
        if not last:
            painter.fillRect(QRectF(rect.left(), rect.bottom() - 1, rect.width(), 1), theme.color(c.border))
        if state & QStyle.StateFlag.State_HasFocus and option.widget.property("keyboard"):
            painter.fillRect(QRectF(rect.left(), rect.top(), 3, rect.height()), theme.color(c.focus))
        self._content(painter, rect.adjusted(Space.M, 0, -Space.M, -1), cell)
        painter.restore()

    def _content(self, painter: QPainter, rect: QRectF, cell: Cell) -> None:
        c = theme.colors()
        if cell.badge:
            y = rect.top() + (rect.height() - badge_height()) / 2
            used = paint_badge(painter, rect.left(), y, cell.badge, cell.tone, cell.mark)
            rest = rect.adjusted(used + Space.S, 0, 0, 0)
            text(painter, rest, cell.words, theme.font(tabular=True), c.text_soft)
            return
        style = Type.BODY_STRONG if cell.strong or cell.second else Type.BODY
        font = theme.font(Type.CODE if cell.code else style, code=cell.code, tabular=cell.number)
        side = Qt.AlignmentFlag.AlignRight if cell.number else Qt.AlignmentFlag.AlignLeft
        tint = c.text if cell.strong or cell.second or cell.number else c.text_soft
        if cell.indent:
            icons.paint(painter, "adapter", rect.left() + Space.XS, rect.center().y() - 15, 14, c.text_muted)
            rect = rect.adjusted(Space.XL, 0, 0, 0)
        if cell.second:
            middle = rect.center().y()
            text(painter, QRectF(rect.left(), middle - 18, rect.width(), 18), cell.words, font, tint)
            below = QRectF(rect.left(), middle + 1, rect.width(), 17)
            text(painter, below, cell.second, theme.font(Type.CAPTION), c.text_muted)
        else:
            if cell.mark:
                icons.paint(painter, cell.mark, rect.left(), rect.center().y() - 8, 16, c.text_muted)
                rect = rect.adjusted(Space.XL, 0, 0, 0)
            text(painter, rect, cell.words, font, tint, side | Qt.AlignmentFlag.AlignVCenter)

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(80, 40)


class Table(QTableView):
    """A table over `Rows`. `widths`: pixels per column, 0 for the one that takes the rest."""

    def __init__(self, name: str, model: Rows, widths: Sequence[int], *, tall: bool = False) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setModel(model)
        model.setParent(self)
        self.setItemDelegate(CellDelegate(self))
        self.setShowGrid(False)
        self.setMouseTracking(True)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(56 if tall else 38)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTabKeyNavigation(False)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setMinimumSectionSize(40)
        for column, width in enumerate(widths):
            if width:
                self.setColumnWidth(column, width)
            else:
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)

    def fit_height(self) -> None:
        """Show all rows without scrolling: for short tables inside a page that scrolls itself."""
        rows = self.model().rowCount() * self.verticalHeader().defaultSectionSize()
        self.setFixedHeight(rows + self.horizontalHeader().sizeHint().height() + 2)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self.setProperty("keyboard", event.reason() in KEYBOARD)
        super().focusInEvent(event)
