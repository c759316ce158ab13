"""The list of conversations: one delegate, groups by age, no widget per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt
from PySide6.QtGui import QFocusEvent, QPainter
from PySide6.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from app.ui import icons, theme
from app.ui.tokens import Radius, Space, Type
from app.ui.widgets.painting import KEYBOARD, box, focus_ring, text, width_of

Index = QModelIndex | QPersistentModelIndex
ENTRY = Qt.ItemDataRole.UserRole


@dataclass(frozen=True, slots=True)
class Entry:
    """A conversation, or with `group` a heading between them."""

    title: str
    when: str = ""
    preview: str = ""
    pinned: bool = False
    streaming: bool = False
    group: bool = False


class Entries(QAbstractListModel):
    """The list model."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        super().__init__()
        self._entries = list(entries)

    def rowCount(self, parent: Index = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self._entries)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        entry = self._entries[index.row()]
        if role == ENTRY:
            return entry
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return entry.title
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        if self._entries[index.row()].group:
            return Qt.ItemFlag.NoItemFlags
        return super().flags(index)


class EntryDelegate(QStyledItemDelegate):
    """Title and time on one line, a muted preview below."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(100, 34 if index.data(ENTRY).group else 54)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        c = theme.colors()
        entry: Entry = index.data(ENTRY)
        state = option.state
        rect = QRectF(option.rect).adjusted(Space.S, 1, -Space.S, -1)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if entry.group:
            below = rect.adjusted(Space.S + 2, 8, 0, 0)
            text(painter, below, entry.title, theme.font(Type.CAPTION_STRONG), c.text_muted)
            painter.restore()
            return
        if state & QStyle.StateFlag.State_Selected:
            box(painter, rect, Radius.M, c.selected)
        elif state & QStyle.StateFlag.State_MouseOver:
            box(painter, rect, Radius.M, c.hover)
        if state & QStyle.StateFlag.State_HasFocus and option.widget.property("keyboard"):
            focus_ring(painter, rect, Radius.M)
        self._words(painter, rect.adjusted(Space.S + 2, 7, -Space.S - 2, -7), entry)
        painter.restore()

    def _words(self, painter: QPainter, rect: QRectF, entry: Entry) -> None:
        c = theme.colors()
        caption = theme.font(Type.CAPTION, tabular=True)
        right = width_of(entry.when, caption)
        x = rect.right() - right
        text(painter, QRectF(x, rect.top(), right + 1, 19), entry.when, caption, c.text_muted)
        if entry.pinned:
            x -= 18
            icons.paint(painter, "pin", x, rect.top() + 3, 13, c.text_muted)
        title = QRectF(rect.left(), rect.top(), x - rect.left() - Space.S, 19)
        text(painter, title, entry.title, theme.font(Type.BODY_STRONG), c.text)
        below = QRectF(rect.left(), rect.top() + 21, rect.width(), 17)
        tint = c.accent_text if entry.streaming else c.text_muted
        text(painter, below, entry.preview, theme.font(Type.CAPTION), tint)


class ConversationList(QListView):
    """Keyboard: up, down, Enter; typing goes to the search field above."""

    def __init__(self, name: str, model: Entries) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setModel(model)
        model.setParent(self)
        self.setItemDelegate(EntryDelegate(self))
        self.setMouseTracking(True)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self.setProperty("keyboard", event.reason() in KEYBOARD)
        super().focusInEvent(event)
