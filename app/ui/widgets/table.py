"""A calm table: no grid, tall rows, hairlines; cells are painted by one delegate from small records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QPoint, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QFocusEvent, QKeyEvent, QPainter, QResizeEvent
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
    """What one cell shows: a text with an optional second line, or a badge with an optional text after it.

    indent: it belongs to the row above; note: a word before the second line, in the colour of what is well; hint: said
    in full, as its tooltip and to assistive tools
    """

    words: str
    second: str = ""
    badge: str = ""
    tone: Tone = "neutral"
    mark: str = ""
    number: bool = False
    strong: bool = False
    code: bool = False
    indent: bool = False
    note: str = ""
    hint: str = ""


class Rows(QAbstractTableModel):
    """A table model over rows of cells."""

    def __init__(self, header: Sequence[str], rows: Sequence[Sequence[Cell]], hints: Sequence[str] = ()) -> None:
        """hints: what the columns mean, as tooltips of their headings; "" where that needs no words."""
        super().__init__()
        self._header, self._rows = list(header), [list(row) for row in rows]
        self._hints = list(hints) or [""] * len(header)

    def replace(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Other rows under the same header."""
        self.beginResetModel()
        self._rows = [list(row) for row in rows]
        self.endResetModel()

    def change(self, place: int, row: Sequence[Cell]) -> None:
        """Another row in the place of an old one; choice and scrolling stay."""
        if list(row) != self._rows[place]:
            self._rows[place] = list(row)
            self.dataChanged.emit(self.index(place, 0), self.index(place, len(self._header) - 1))

    def rowCount(self, parent: Index = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self._header)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        cell = self._rows[index.row()][index.column()]
        if role == CELL:
            return cell
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return " ".join(part for part in (cell.badge, cell.words, cell.note, cell.second) if part)
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleDescriptionRole):
            return cell.hint or None
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
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleDescriptionRole):
            return self._hints[section] or None
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
            middle, scale = rect.center().y(), theme.state.text_scale
            text(painter, QRectF(rect.left(), middle - 18 * scale, rect.width(), 18 * scale), cell.words, font, tint)
            below = QRectF(rect.left(), middle + scale, rect.width(), 17 * scale)
            if cell.note:
                used = text(painter, below, cell.note, theme.font(Type.CAPTION_STRONG), c.ok) + Space.S
                below.setLeft(below.left() + used)
            text(painter, below, cell.second, theme.font(Type.CAPTION), c.text_muted)
        else:
            if cell.mark:
                icons.paint(painter, cell.mark, rect.left(), rect.center().y() - 8, 16, c.text_muted)
                rect = rect.adjusted(Space.XL, 0, 0, 0)
            text(painter, rect, cell.words, font, tint, side | Qt.AlignmentFlag.AlignVCenter)

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(80, 40)


class Table(QTableView):
    """A table over `Rows`. `widths`: pixels per column at the usual text size, 0 for the one that takes the rest.

    Signals:
        menu_asked: a row, and where on the screen its menu shall open; by the right button or the menu key
        chosen: a row, by a double click or Enter
        gave_way: other columns than before are gone for want of room
    """

    gave_way = Signal()
    menu_asked = Signal(int, QPoint)
    chosen = Signal(int)

    def __init__(self, name: str, model: Rows, widths: Sequence[int], *, tall: bool = False) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setModel(model)
        model.setParent(self)
        self._widths, self._least = list(widths), 0
        self._spare: tuple[int, ...] = ()
        self._empty: tuple[int, ...] = ()
        self.setItemDelegate(CellDelegate(self))
        self.setShowGrid(False)
        self.setMouseTracking(True)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(round((56 if tall else 38) * theme.state.text_scale))
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
                self.setColumnWidth(column, self._px(width))
            else:
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        self.doubleClicked.connect(lambda index: self.chosen.emit(index.row()))

    def fit_height(self) -> None:
        """Show all rows without scrolling: for short tables inside a page that scrolls itself."""
        rows = self.model().rowCount() * self.verticalHeader().defaultSectionSize()
        self.setFixedHeight(rows + self.horizontalHeader().sizeHint().height() + 2)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def give_way(self, columns: Sequence[int], least: int, empty: Sequence[int] = ()) -> None:
        """Where room is scarce these columns go, the first one first, until the wide one has `least` pixels. `empty`:
        those of them that have nothing to say are gone anyway."""
        self._spare, self._least, self._empty = tuple(columns), least, tuple(empty)
        self._drop_columns()

    def _px(self, width: int) -> int:
        return round(width * theme.state.text_scale)

    def _drop_columns(self) -> None:
        room = self.width() - sum(self._px(width) for width in self._widths)
        room += sum(self._px(self._widths[column]) for column in self._empty)
        gone = self.gone
        for column in self._spare:
            is_short = column not in self._empty and room < self._px(self._least)
            self.setColumnHidden(column, is_short or column in self._empty)
            if is_short:
                room += self._px(self._widths[column])
        if self.gone != gone:
            self.gave_way.emit()

    @property
    def gone(self) -> list[str]:
        """The headings of columns there is no room for."""
        places = [place for place in sorted(self._spare) if place not in self._empty and self.isColumnHidden(place)]
        return [str(self.model().headerData(place, Qt.Orientation.Horizontal)) for place in places]

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._drop_columns()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        by_mouse = event.reason() == QContextMenuEvent.Reason.Mouse
        index = self.indexAt(event.pos()) if by_mouse else self.currentIndex()
        if index.isValid():
            place = event.pos() if by_mouse else self.visualRect(index).center()
            self.menu_asked.emit(index.row(), self.viewport().mapToGlobal(place))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if is_enter and not event.modifiers() & Qt.KeyboardModifier.ControlModifier and self.currentIndex().isValid():
            self.chosen.emit(self.currentIndex().row())
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self.setProperty("keyboard", event.reason() in KEYBOARD)
        super().focusInEvent(event)
