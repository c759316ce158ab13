"""Rows with a tick before them, drawn like the rest of the program: the box of Qt's own style is not seen on dark."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRectF, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QListWidget, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from app.ui import icons, theme
from app.ui.tokens import Radius, Space, Type
from app.ui.widgets.painting import box, focus_ring, text

BOX = 16  # px


class TickList(QListWidget):
    """A list of checkable items; Space and a click on the box toggle them."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setUniformItemSizes(True)
        self.setItemDelegate(_Ticks(self))


class _Ticks(QStyledItemDelegate):
    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        c = theme.colors()
        shown = QStyleOptionViewItem(option)
        self.initStyleOption(shown, index)
        style = shown.widget.style()
        place = style.subElementRect(QStyle.SubElement.SE_ItemViewItemCheckIndicator, shown, shown.widget)
        words = style.subElementRect(QStyle.SubElement.SE_ItemViewItemText, shown, shown.widget)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        whole = QRectF(shown.rect)
        if shown.state & QStyle.StateFlag.State_MouseOver:
            box(painter, whole, Radius.M, c.hover)
        square = QRectF(0, 0, BOX, BOX)
        square.moveCenter(QRectF(place).center())
        is_ticked = shown.checkState == Qt.CheckState.Checked
        box(painter, square, Radius.S, c.accent if is_ticked else None, c.accent if is_ticked else c.control, 1.4)
        if is_ticked:
            icons.paint(painter, "check", square.x() + 1, square.y() + 1, BOX - 2, c.on_accent)
        room = QRectF(words).adjusted(Space.S, 0, 0, 0)
        cut = shown.fontMetrics.elidedText(shown.text, Qt.TextElideMode.ElideMiddle, round(room.width()))
        text(painter, room, cut, theme.font(Type.BODY), c.text)
        if shown.state & QStyle.StateFlag.State_HasFocus:
            focus_ring(painter, whole, Radius.M)
        painter.restore()
