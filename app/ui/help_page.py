"""Questions and answers: what people ask again and again, searchable, each with a button to where it can be seen.

Invariant: the texts are those of `app.services.questions`; an answer becomes a widget when it is opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QFontMetricsF, QKeyEvent, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget
from shiboken6 import isValid

from app.services import questions
from app.services.questions import Question
from app.ui import aio, icons, shortcuts, theme
from app.ui.tokens import Radius, Size, Space, Type
from app.ui.widgets.button import Button, Pressable
from app.ui.widgets.feedback import EmptyState
from app.ui.widgets.fields import SearchField
from app.ui.widgets.layout import Scroll, column, label, pane, row
from app.ui.widgets.page import headed, page_header
from app.ui.widgets.painting import begin, box, focus_ring
from core.translation import language, say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

SEARCH_MS = 120
FLAGS = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextWordWrap
LEAD = Size.ICON_S + Space.S


class QuestionRow(Pressable):
    """One question, folded or open; wraps where it is long.

    Signals:
        moved: an arrow key leads to the row before (-1) or after (1)
    """

    moved = Signal(int)

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.setCheckable(True)
        self.setText(words)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.toggled.connect(self._say)
        self._say(False)
        self._fit(Size.READING)

    def _say(self, is_open: bool) -> None:
        self.setAccessibleDescription(say("transcript.open" if is_open else "transcript.folded"))

    def _fit(self, width: int) -> None:
        room = QRectF(0, 0, width - LEAD - Space.S, 10_000)
        tall = QFontMetricsF(theme.font(Type.BODY_STRONG)).boundingRect(room, int(FLAGS), self.text()).height()
        self.setFixedHeight(max(Size.CONTROL_L, round(tall) + 2 * Space.S))

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._fit(self.width())

    def sizeHint(self) -> QSize:
        return QSize(Size.READING, self.height())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = Qt.Key(event.key())
        if key in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            self.moved.emit(-1 if key == Qt.Key.Key_Up else 1)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.click()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        if veil := self.veil():
            box(painter, rect, Radius.M, veil)
        mark = "down" if self.isChecked() else "right"
        icons.paint(painter, mark, 0, (rect.height() - Size.ICON_S) / 2, Size.ICON_S, c.text_muted)
        painter.setFont(theme.font(Type.BODY_STRONG))
        painter.setPen(theme.color(c.text))
        painter.drawText(rect.adjusted(LEAD, 0, -Space.S, 0), int(FLAGS), self.text())
        if self.ring:
            focus_ring(painter, rect, Radius.M)


class Entry(QWidget):
    """A question and, while it is open, its answer."""

    def __init__(self, question: Question, go: Callable[[str], object]) -> None:
        super().__init__()
        self.question = question
        self.row = QuestionRow(question.question[language()])
        self.row.toggled.connect(self._show)
        self._go = go
        self._answer: QWidget | None = None
        self._lines = column(self.row, gap=0)
        self.setLayout(self._lines)

    def _show(self, is_open: bool) -> None:
        if is_open and self._answer is None:
            self._answer = self._make()
            self._lines.addWidget(self._answer)
        if self._answer is not None:
            self._answer.setVisible(is_open)

    def _make(self) -> QWidget:
        words = label(self.question.answer[language()], "body", "soft", wrap=True)
        words.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        words.setAccessibleName(words.text())
        lines = column(words, gap=Space.M)
        if self.question.place:
            button = Button(say(f"help.go_{self.question.place}"), "secondary", small=True)
            button.clicked.connect(lambda: self._go(self.question.place))
            lines.addLayout(row(button, None))
        lines.setContentsMargins(LEAD, Space.XXS, Space.S, Space.L)
        return pane(lines)


class HelpPage(QWidget):
    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self._window = window
        self._titles: dict[str, QWidget] = {}
        self._wanted = ""
        self.entries: dict[str, Entry] = {}
        self.is_ready = False
        self.search = SearchField(say("help.search"), shortcuts.keys("help", "find_help"))
        self.search.setFixedWidth(320)
        self.setFocusProxy(self.search)
        self._wait = QTimer(self, singleShot=True, interval=SEARCH_MS)
        self._wait.timeout.connect(self._filter)
        self.search.textChanged.connect(lambda _: self._wait.start())
        self._none = EmptyState("search", say("help.none"), say("help.none_means"))
        self._none.hide()
        self._lines = column(gap=Space.XXS)
        self._lines.setContentsMargins(0, 0, 0, Space.XL)
        middle = pane(self._lines)
        middle.setMaximumWidth(Size.READING)
        outer = row(middle)
        outer.setContentsMargins(Space.XL, Space.L, Space.XL, Space.L)
        self._scroll = Scroll(pane(outer), say("help.title"))
        keys = Button(say("help.keys"), "secondary")
        keys.clicked.connect(window.show_shortcuts)
        self.setLayout(headed(page_header(say("help.title"), self.search, None, keys), self._scroll))
        shortcuts.bind(self, "help", "find_help", self._focus_search)
        aio.spawn(self._fill(), "questions")

    async def _fill(self) -> None:
        for _ in self._steps():
            await asyncio.sleep(0)
            if not isValid(self):
                return
        self.is_ready = True
        if self._wanted:
            await asyncio.sleep(0)
            self.show_question(self._wanted)

    def _steps(self) -> Iterator[None]:
        known = questions.catalogue()
        for topic in known.topics:
            title = label(topic.title[language()], "heading")
            title.setContentsMargins(0, Space.M, 0, Space.XS)
            self._titles[topic.id] = title
            self._lines.addWidget(title)
            for question in known.questions:
                if question.topic == topic.id:
                    self._add(question)
            yield
        self._lines.addWidget(self._none)
        self._lines.addStretch(1)

    def _add(self, question: Question) -> None:
        entry = self.entries[question.id] = Entry(question, self._go)
        entry.row.moved.connect(lambda step, entry=entry: self._move(entry, step))
        self._lines.addWidget(entry)

    def show_question(self, question_id: str) -> None:
        """Open one question, in view, whatever was searched."""
        if not self.is_ready:
            self._wanted = question_id
            return
        self._wanted = ""
        self.search.clear()
        self._wait.stop()
        self._filter()
        entry = self.entries[question_id]
        entry.row.setChecked(True)
        entry.row.setFocus(Qt.FocusReason.OtherFocusReason)
        QTimer.singleShot(0, entry, lambda: self._scroll.ensureWidgetVisible(entry, 0, Space.XL))

    def _filter(self) -> None:
        found = {one.id for one in questions.search(self.search.text(), language())}
        topics = {self.entries[one].question.topic for one in found}
        for one, entry in self.entries.items():
            entry.setVisible(one in found)
        for topic, title in self._titles.items():
            title.setVisible(topic in topics)
        self._none.setVisible(not found)

    def _move(self, entry: Entry, step: int) -> None:
        shown = [one for one in self.entries.values() if not one.isHidden()]
        place = shown.index(entry) + step
        if 0 <= place < len(shown):
            shown[place].row.setFocus(Qt.FocusReason.TabFocusReason)
            self._scroll.ensureWidgetVisible(shown[place])

    def _focus_search(self) -> None:
        self.search.setFocus()
        self.search.selectAll()

    def _go(self, place: str) -> None:
        """Where an answer can be seen or changed."""
        window = self._window
        if place == "load":
            window.ask_load()
        elif place in ("inspector", "context"):
            page = window.go("chat")
            page.reveal(place)  # type: ignore[union-attr]
        elif place in ("machine", "preferences"):
            page = window.go("settings")
            page.show_view(place)  # type: ignore[union-attr]
        else:
            window.go(place)

    def adapt(self, wide: bool) -> None:
        """Nothing beside the page."""

    def leave(self) -> None:
        """Nothing is kept."""
