"""Downloads: the queue as a list that is painted, never a widget per row, and what can be done with each row.

Invariant: it is drawn at most ten times a second however fast progress comes; everything the buttons of a row do is in
its menu and on a key too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QModelIndex, QPoint, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QContextMenuEvent, QFocusEvent, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QResizeEvent
from PySide6.QtWidgets import QListView, QStackedWidget, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from app.ui import theme
from app.ui.models.download_rows import Action, Index, Row, Rows, paint_row, row_height, zones
from app.ui.pacing import Paced
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import EmptyState
from app.ui.widgets.layout import Card, column, label, pane, row
from app.ui.widgets.menu import Menu
from app.ui.widgets.painting import KEYBOARD
from core.translation import say

if TYPE_CHECKING:
    from app.services.downloads import DownloadService

EVERY_MS = 100
ICONS = {"pause": "pause", "resume": "play", "retry": "refresh", "cancel": "close", "chat": "chat"}


class _Delegate(QStyledItemDelegate):
    def __init__(self, view: DownloadList) -> None:
        super().__init__(view)
        self._view = view

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        width = self._view.viewport().width()
        return QSize(100, row_height(self._view.rows.rows[index.row()], width))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        view, rect = self._view, QRectF(option.rect)
        c = theme.colors()
        is_chosen = bool(option.state & QStyle.StateFlag.State_HasFocus) and bool(view.property("keyboard"))
        is_near = bool(option.state & QStyle.StateFlag.State_MouseOver) or is_chosen
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if is_near:
            painter.fillRect(rect, theme.color(c.hover))
        if is_chosen:
            painter.fillRect(QRectF(rect.left(), rect.top(), 3, rect.height()), theme.color(c.focus))
        hovered = view.hovered[1] if view.hovered is not None and view.hovered[0] == index.row() else None
        paint_row(painter, rect, view.rows.rows[index.row()], hovered=hovered, is_near=is_near)
        if index.row() < view.rows.rowCount() - 1:
            painter.fillRect(QRectF(rect.left(), rect.bottom() - 1, rect.width(), 1), theme.color(c.border))
        painter.restore()


class DownloadList(QListView):
    """
    Keys: Space pauses, goes on or tries again; Delete takes out; Alt+Up and Alt+Down move; Right and Left open the
    files; Enter chats with one that is here; the menu key has them all.

    Signals:
        asked: an action and the id of a download
    """

    asked = Signal(str, int)

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows()
        self.rows.setParent(self)
        self.hovered: tuple[int, Action] | None = None
        self._pressed: tuple[int, Action] | None = None
        self.setAccessibleName(say("downloads.list"))
        self.setAccessibleDescription(say("downloads.keys"))
        self.setModel(self.rows)
        self.setItemDelegate(_Delegate(self))
        self.setMouseTracking(True)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSelectionMode(QListView.SelectionMode.NoSelection)
        theme.state.changed.connect(self.scheduleDelayedItemsLayout)

    def act(self, action: Action, place: int) -> None:
        if action == "fold":
            self.rows.fold(place)
        self.asked.emit(action, self.rows.rows[place].id)

    # the pointer

    def _zone_at(self, point: QPoint) -> tuple[int, Action] | None:
        index = self.indexAt(point)
        if not index.isValid():
            return None
        found = zones(self.rows.rows[index.row()], QRectF(self.visualRect(index)))
        return next(((index.row(), action) for action, zone in found if zone.contains(point)), None)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        super().mouseMoveEvent(event)
        found = self._zone_at(event.position().toPoint())
        if found != self.hovered:
            self.hovered = found
            self.viewport().update()

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self.hovered = None
        self.viewport().update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        super().mousePressEvent(event)
        is_left = event.button() == Qt.MouseButton.LeftButton
        self._pressed = self._zone_at(event.position().toPoint()) if is_left else None

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        found, self._pressed = self._pressed, None
        if found is not None and found == self._zone_at(event.position().toPoint()):
            self.act(found[1], found[0])

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Two quick clicks on a button are two clicks."""

    def viewportEvent(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent):
            found = self._zone_at(event.pos())
            self.viewport().setToolTip(say(f"downloads.do_{found[1]}") if found is not None else "")
        return super().viewportEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        by_mouse = event.reason() == QContextMenuEvent.Reason.Mouse
        index = self.indexAt(event.pos()) if by_mouse else self.currentIndex()
        if index.isValid():
            place = event.pos() if by_mouse else self.visualRect(index).center()
            self._open_menu(index.row(), self.viewport().mapToGlobal(place))

    def _open_menu(self, place: int, where: QPoint) -> None:
        row_ = self.rows.rows[place]
        if row_.is_gone:
            return  # nothing can be done with it
        menu = Menu(self)
        folding: tuple[Action, ...] = ("fold",) if row_.can_fold else ()
        asking: tuple[Action, ...] = ("why",) if row_.question and row_.error else ()
        for action in (*row_.actions, *folding, *asking):
            menu.add(say(f"downloads.do_{action}"), partial(self.act, action, place), ICONS.get(action, ""))
        menu.popup(where)

    # the keyboard

    def keyPressEvent(self, event: QKeyEvent) -> None:
        index = self.currentIndex()
        action = _by_key(event, self.rows.rows[index.row()]) if index.isValid() else None
        if action is not None:
            self.act(action, index.row())
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self.setProperty("keyboard", event.reason() in KEYBOARD)
        super().focusInEvent(event)
        if not self.currentIndex().isValid() and self.rows.rowCount():
            self.setCurrentIndex(self.rows.index(0, 0))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.scheduleDelayedItemsLayout()  # errors wrap


def _by_key(event: QKeyEvent, row_: Row) -> Action | None:
    key, has_alt = Qt.Key(event.key()), bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)
    wanted: tuple[Action, ...] = ()
    if key == Qt.Key.Key_Space:
        wanted = ("retry", "resume", "pause")
    elif key == Qt.Key.Key_Delete:
        wanted = ("cancel",)
    elif key == Qt.Key.Key_Up and has_alt:
        wanted = ("earlier",)
    elif key == Qt.Key.Key_Down and has_alt:
        wanted = ("later",)
    elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
        wanted = ("chat",)
    elif row_.can_fold and key == (Qt.Key.Key_Left if row_.is_open else Qt.Key.Key_Right):
        return "fold"
    return next((action for action in wanted if action in row_.actions), None)


class DownloadsView(QWidget):
    """
    Signals:
        asked: an action and the id of a download
        discover_asked: there is nothing here yet
        cleared: those that are done shall leave the list
    """

    asked = Signal(str, int)
    discover_asked = Signal()
    cleared = Signal()

    def __init__(self, downloads: DownloadService) -> None:
        super().__init__()
        self._downloads = downloads
        self.list = DownloadList()
        self.list.asked.connect(self._on_asked)
        self._said = label("", "caption", "muted")
        self.clear = Button(say("downloads.clear"), "ghost", small=True)
        self.clear.clicked.connect(self.cleared)
        head = row(self._said, None, self.clear, gap=Space.S)
        find = Button(say("downloads.find"), "primary", "search")
        find.clicked.connect(self.discover_asked)
        self.empty = EmptyState("download", say("downloads.empty"), say("downloads.empty_means"), find)
        full = column(pane(head), Card(column(self.list), padding=1), gap=Space.S)
        full.setStretch(1, 1)
        self._stack = QStackedWidget()
        self._stack.addWidget(self.empty)
        self._stack.addWidget(pane(full))
        self.setLayout(column(self._stack))
        self._wait = Paced(self, EVERY_MS, self._show_if_seen)
        self._tick = QTimer(self, interval=1000)  # for those that wait for a time
        self._tick.timeout.connect(self._show)
        self._end: Callable[[], None] = downloads.changed.listen(self._wait.ask)
        self._show()

    def enter(self) -> None:
        self._show()
        self._tick.start()

    def rest(self) -> None:
        self._tick.stop()

    def leave(self) -> None:
        self._end()
        self._wait.stop()
        self._tick.stop()

    def show_installed(self, names: Collection[str]) -> None:
        """The library was read just now. What is done later than that is judged the next time."""
        here = {name.lower() for name in names}
        items = self._downloads.items
        self.list.rows.gone = {
            item.id for item in items if item.state == "done" and item.record.name.lower() not in here
        }
        self._show_if_seen()

    def _show_if_seen(self) -> None:
        if self.isVisible():
            self._show()

    def _on_asked(self, action: str, download_id: int) -> None:
        if action == "fold":
            self._show()
        else:
            self.asked.emit(action, download_id)

    def _show(self) -> None:
        items = [item for item in self._downloads.items if item.state != "cancelled"]
        chosen = self._chosen()
        if self.list.rows.show_items(items):
            self.list.scheduleDelayedItemsLayout()
            if chosen is not None and (place := self.list.rows.place_of(chosen)) is not None:
                self.list.setCurrentIndex(self.list.rows.index(place, 0))
        self._stack.setCurrentIndex(1 if items else 0)
        self.clear.setVisible(any(item.state == "done" for item in items))
        self._said.setText(say("downloads.order") if len(items) > 1 else "")

    def _chosen(self) -> int | None:
        index: QModelIndex = self.list.currentIndex()
        return self.list.rows.rows[index.row()].id if 0 <= index.row() < len(self.list.rows.rows) else None
