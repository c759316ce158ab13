"""The list of conversations, or of the messages a search found: one delegate, no widget per row.

Invariant: an update keeps the chosen conversation, the place of the scroll bar and an open rename box.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from PySide6.QtCore import QAbstractItemModel, QItemSelectionModel, QModelIndex, QPoint, QSize, Qt, Signal
from PySide6.QtGui import QFocusEvent, QKeyEvent
from PySide6.QtWidgets import QLineEdit, QListView, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from app.ui import theme
from app.ui.tokens import Size, Space
from app.ui.widgets.conversation_rows import HEADING_PX, ROW_PX, Entries, Heading, Index, paint_row
from app.ui.widgets.menu import Menu
from app.ui.widgets.painting import KEYBOARD
from core.store.records import ConversationSummary, Hit
from core.translation import say


class EntryDelegate(QStyledItemDelegate):
    """Paints rows and makes the box in which a title is changed."""

    def __init__(self, parent: QWidget, entries: Entries) -> None:
        super().__init__(parent)
        self._entries = entries
        self.dress()

    def dress(self) -> None:
        """Take the text size in force."""
        scale = theme.state.text_scale
        self._sizes = {True: QSize(100, HEADING_PX), False: QSize(100, round(ROW_PX * scale))}

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return self._sizes[isinstance(self._entries.rows[index.row()], Heading)]

    def paint(self, painter, option, index) -> None:  # type: ignore[no-untyped-def]
        paint_row(painter, option, self._entries, index.row())

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:
        box = QLineEdit(parent)
        box.setAccessibleName(say("transcript.rename"))
        return box

    def setEditorData(self, editor: QWidget, index: Index) -> None:
        assert isinstance(editor, QLineEdit)
        editor.setText(self._entries.title(index.row()))
        editor.selectAll()

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: Index) -> None:
        assert isinstance(editor, QLineEdit)
        self._entries.rename(index.row(), editor.text())

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, index: Index) -> None:
        rect = option.rect
        editor.setGeometry(rect.x() + Space.S + 2, rect.y() + 5, rect.width() - 2 * (Space.S + 2), Size.CONTROL)


class ConversationList(QListView):
    """Keyboard: up and down open, F2 renames, Delete deletes, the menu key has the rest.

    Signals:
        opened: a conversation was chosen.
        hit_opened: a found message was chosen: its conversation and itself.
        renamed: a conversation and its new title.
        pin_asked: a conversation and whether it shall be pinned.
        export_asked, delete_asked: a conversation.
    """

    opened = Signal(int)
    hit_opened = Signal(int, int)
    renamed = Signal(int, str)
    pin_asked = Signal(int, bool)
    export_asked = Signal(int)
    delete_asked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.entries = Entries(self)
        self.entries.renamed.connect(self.renamed)
        self._chosen: int | None = None
        self._quiet = False
        self.setAccessibleName(say("transcript.conversations"))
        self.setModel(self.entries)
        self._delegate = EntryDelegate(self, self.entries)
        self.setItemDelegate(self._delegate)
        self.setMouseTracking(True)
        self.setEditTriggers(QListView.EditTrigger.EditKeyPressed)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._open_menu)
        self.clicked.connect(self._on_activated)
        self.activated.connect(self._on_activated)
        self.selectionModel().currentChanged.connect(self._on_current)
        theme.state.changed.connect(self._on_theme)

    def show_conversations(self, summaries: Sequence[ConversationSummary], now: datetime | None = None) -> None:
        """Show these, pinned ones first, then by age. `now` is this moment unless a test says otherwise."""
        self._quietly(lambda: self.entries.show_conversations(summaries, now))

    def show_hits(self, hits: Sequence[Hit], now: datetime | None = None) -> None:
        """Show what a search found instead."""
        self._quietly(lambda: self.entries.show_hits(hits, now))

    def set_streaming(self, conversation_id: int, on: bool) -> None:
        """Whether a reply is being written in a conversation."""
        self.entries.set_streaming(conversation_id, on)

    def choose(self, conversation_id: int | None) -> None:
        """Mark a conversation as the one that is open, without a signal."""
        self._chosen = conversation_id
        self._quietly(lambda: None)
        if (row := self.entries.row_of(conversation_id)) is not None:
            self.scrollTo(self.entries.index(row, 0))

    def step(self, by: int) -> None:
        """Open the next conversation (1) or the one before (-1)."""
        row = self.entries.row_of(self._chosen)
        ids = [entry.id for entry in self.entries.rows if isinstance(entry, ConversationSummary)]
        if ids:
            place = ids.index(self._chosen) + by if row is not None and self._chosen in ids else 0
            wanted = self.entries.row_of(ids[max(0, min(place, len(ids) - 1))])
            if wanted is not None:
                self.setCurrentIndex(self.entries.index(wanted, 0))

    @property
    def shows_hits(self) -> bool:
        return any(isinstance(entry, Hit) for entry in self.entries.rows)

    def rename_chosen(self) -> None:
        """Open the box for the title of the chosen conversation."""
        if (row := self.entries.row_of(self._chosen)) is not None:
            self.edit(self.entries.index(row, 0))

    def _quietly(self, change: object) -> None:
        """Change the rows; the choice and the scroll bar stay."""
        self._quiet = True
        value = self.verticalScrollBar().value()
        assert callable(change)
        change()
        row = self.entries.row_of(self._chosen)
        flags = QItemSelectionModel.SelectionFlag
        if row is None:
            self.selectionModel().clear()
        elif self.currentIndex().row() != row or not self.selectionModel().isRowSelected(row):
            index = self.entries.index(row, 0)
            self.selectionModel().setCurrentIndex(index, flags.ClearAndSelect)
        self.verticalScrollBar().setValue(value)
        self._quiet = False

    def _on_theme(self) -> None:
        self._delegate.dress()
        self.scheduleDelayedItemsLayout()
        self.viewport().update()

    def _on_current(self, index: QModelIndex, before: QModelIndex) -> None:
        entry = self.entries.rows[index.row()] if index.isValid() else None
        if not self._quiet and isinstance(entry, ConversationSummary) and entry.id != self._chosen:
            self._chosen = entry.id
            self.opened.emit(entry.id)

    def _on_activated(self, index: QModelIndex) -> None:
        entry = self.entries.rows[index.row()]
        if isinstance(entry, Hit):
            self.hit_opened.emit(entry.conversation_id, entry.message_id or 0)

    def _open_menu(self, place: QPoint) -> None:
        index = self.indexAt(place)
        entry = self.entries.rows[index.row()] if index.isValid() else None
        if not isinstance(entry, ConversationSummary):
            return
        menu = Menu(self)
        menu.add(say("transcript.rename"), partial(self.edit, index), "edit")
        pin = say("transcript.unpin" if entry.pinned else "transcript.pin")
        menu.add(pin, partial(self.pin_asked.emit, entry.id, not entry.pinned), "pin")
        menu.add(say("transcript.export"), partial(self.export_asked.emit, entry.id), "share")
        menu.addSeparator()
        menu.add(say("transcript.delete"), partial(self.delete_asked.emit, entry.id), "trash")
        menu.popup(self.viewport().mapToGlobal(place))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        entry = self.entries.rows[self.currentIndex().row()] if self.currentIndex().isValid() else None
        if event.key() == Qt.Key.Key_Delete and isinstance(entry, ConversationSummary):
            self.delete_asked.emit(entry.id)
        elif event.key() == Qt.Key.Key_Menu and self.currentIndex().isValid():
            self._open_menu(self.visualRect(self.currentIndex()).center())
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self.setProperty("keyboard", event.reason() in KEYBOARD)
        super().focusInEvent(event)
