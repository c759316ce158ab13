"""The column of conversations: search, new chat, the list, and what can be done with a row.

Invariant: it shows what the chat service says and asks for everything by signal; it opens and changes nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QWidget

from app.ui import shortcuts
from app.ui.tokens import Size, Space
from app.ui.widgets.button import IconButton
from app.ui.widgets.conversations import ConversationList
from app.ui.widgets.fields import SearchField
from app.ui.widgets.layout import column, row
from core.store.records import ConversationSummary, Hit
from core.translation import say

SEARCH_MS = 120


class Sidebar(QWidget):
    """
    Signals:
        opened: conversation id, and the message to jump to or 0
        new_asked: a new chat
        searched: the words, a moment after the last key; "" ends the search
        asked: what to do (rename, pin, export, delete), conversation id, and the new title for rename
        import_asked: bring a conversation from a file
    """

    opened = Signal(int, int)
    new_asked = Signal()
    searched = Signal(str)
    asked = Signal(str, int, str)
    import_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("ground", "sidebar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(Size.LIST)
        self.search = SearchField(say("chat.search"), shortcuts.keys("chat", "search"))
        self.search.setClearButtonEnabled(True)
        self._wait = QTimer(self, singleShot=True, interval=SEARCH_MS)
        self._wait.timeout.connect(lambda: self.searched.emit(self.search.text().strip()))
        self.search.textChanged.connect(lambda _: self._wait.start())
        bring = IconButton("folder", f"{say('chat.import')}  {shortcuts.keys('chat', 'import')}", size=Size.CONTROL)
        bring.clicked.connect(self.import_asked)
        new = IconButton("plus", f"{say('chat.new_chat')}  {shortcuts.keys('chat', 'new_chat')}", size=Size.CONTROL)
        new.clicked.connect(self.new_asked)
        head = row(self.search, bring, new, gap=Space.XS)
        head.setContentsMargins(Space.M, Space.M, Space.S, Space.XS)
        self.list = ConversationList()
        self.list.opened.connect(lambda number: self.opened.emit(number, 0))
        self.list.hit_opened.connect(self.opened)
        self.list.renamed.connect(lambda number, title: self.asked.emit("rename", number, title))
        self.list.pin_asked.connect(lambda number, _: self.asked.emit("pin", number, ""))
        self.list.export_asked.connect(lambda number: self.asked.emit("export", number, ""))
        self.list.delete_asked.connect(lambda number: self.asked.emit("delete", number, ""))
        whole = column(head, self.list, gap=Space.XS)
        whole.setStretch(1, 1)
        self.setLayout(whole)

    def show_list(self, summaries: Sequence[ConversationSummary], streaming: set[int], current: int | None) -> None:
        self.list.show_conversations(summaries)
        for summary in summaries:
            self.list.set_streaming(summary.id, summary.id in streaming)
        self.list.choose(current)

    def show_hits(self, hits: Sequence[Hit]) -> None:
        self.list.show_hits(hits)

    def focus_search(self) -> None:
        self.search.setFocus()
        self.search.selectAll()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Down from the search field goes into the list."""
        if self.search.hasFocus() and event.key() == Qt.Key.Key_Down:
            self.list.setFocus()
        else:
            super().keyPressEvent(event)
