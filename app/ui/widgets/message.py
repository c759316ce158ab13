"""The pieces around a message: its actions, the switch between versions, the user's bubble and its editor."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QObject, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFontMetricsF, QKeyEvent, QPaintEvent
from PySide6.QtWidgets import QPlainTextEdit, QSizePolicy, QWidget

from app.ui import theme
from app.ui.tokens import Radius, Size, Space, Type
from app.ui.widgets.button import Button, IconButton
from app.ui.widgets.layout import column, label, row
from app.ui.widgets.painting import begin, box
from app.ui.widgets.prose import Text
from core.translation import say

BUBBLE_SHARE = 0.82
"""The widest bubble as a share of the column."""


class QuietIcon(IconButton):
    """An icon button that keeps its room while it is not painted."""

    def __init__(self, icon: str, name: str) -> None:
        super().__init__(icon, name)
        self.revealed = False

    def paintEvent(self, event: QPaintEvent) -> None:
        if self.revealed or self.ring:
            super().paintEvent(event)


class Actions(QWidget):
    """Icon actions that take their room always and show on hover or when one of them has the focus.

    Signals:
        asked: the name of an action.
    """

    asked = Signal(str)

    def __init__(self, entries: Sequence[tuple[str, str, str]]) -> None:
        """`entries`: name, icon and word of each action."""
        super().__init__()
        self.buttons: dict[str, QuietIcon] = {}
        body = row(gap=0)
        for name, icon, word in entries:
            button = QuietIcon(icon, word)
            button.clicked.connect(lambda _checked=False, name=name: self.asked.emit(name))
            button.installEventFilter(self)
            self.buttons[name] = button
            body.addWidget(button)
        self.setLayout(body)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._hovered = False

    def reveal(self, on: bool) -> None:
        self._hovered = on
        self._settle()

    def _settle(self) -> None:
        on = self._hovered or any(button.hasFocus() for button in self.buttons.values())
        for button in self.buttons.values():
            if button.revealed != on:
                button.revealed = on
                button.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
            self._settle()
        return False


class Siblings(QWidget):
    """The switch between versions of one message: ‹ 2 / 3 ›.

    Signals:
        moved: -1 or 1.
    """

    moved = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._back = IconButton("left", say("kit.previous_version"))
        self._forth = IconButton("right", say("kit.next_version"))
        self._words = label("", "caption", "soft")
        for button, step in ((self._back, -1), (self._forth, 1)):
            button.setFixedWidth(20)
            button.clicked.connect(lambda _checked=False, step=step: self.moved.emit(step))
        self.setLayout(row(self._back, self._words, self._forth, gap=Space.XXS))
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def show_place(self, place: int, count: int) -> None:
        """Version `place` of `count`; nothing is shown where there is only one."""
        self.setVisible(count > 1)
        self._words.setText(f"{place} / {count}")
        self._words.setAccessibleName(say("transcript.version", place=place, count=count))
        self._back.setEnabled(place > 1)
        self._forth.setEnabled(place < count)


class Bubble(QWidget):
    """The user's words on a tinted ground at the right."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words
        self.text = Text()
        self.text.setParent(self)
        self.text.setAccessibleName(say("transcript.your_text"))
        self._natural = 0
        self.redraw()

    def redraw(self) -> None:
        self.text.dress()
        self.text.show_plain(self._words)
        metrics = QFontMetricsF(theme.font(Type.PROSE, literal=True))
        lines = sorted(self._words.splitlines() or [""], key=len)[-20:]
        self._natural = round(max(metrics.horizontalAdvance(line[:400]) for line in lines)) + 6

    def fit(self, widest: int) -> QSize:
        """The size it takes where at most `widest` px are to be had; laid out for it."""
        inner = min(self._natural, widest - 2 * Space.L)
        height = self.text.fit(inner)
        self.text.setGeometry(Space.L, Space.S + 2, inner, height)
        return QSize(inner + 2 * Space.L, height + 2 * (Space.S + 2))

    def paintEvent(self, event: QPaintEvent) -> None:
        box(begin(self), QRectF(self.rect()), Radius.XL, theme.colors().bubble)


class MessageEditor(QWidget):
    """The user's message as a text box, in place of the bubble.

    Signals:
        sent: the new text.
        cancelled: it stays as it was.
        grew: the height it needs has changed.
    """

    sent = Signal(str)
    cancelled = Signal()
    grew = Signal()

    def __init__(self, words: str) -> None:
        super().__init__()
        self.box = QPlainTextEdit(words)
        self.box.setProperty("bare", True)
        self.box.setFrameShape(QPlainTextEdit.Shape.NoFrame)
        self.box.setFont(theme.font(Type.PROSE, literal=True))
        self.box.setAccessibleName(say("transcript.edit_message"))
        self.box.setTabChangesFocus(True)
        self.box.installEventFilter(self)
        self.box.textChanged.connect(self.grew)
        self.send = Button(say("kit.send"), "primary", small=True)
        cancel = Button(say("kit.cancel"), "ghost", small=True)
        self.send.clicked.connect(self._send)
        cancel.clicked.connect(self.cancelled)
        note = label(say("transcript.edit_keeps"), "caption", "muted")
        body = column(self.box, row(note, None, cancel, self.send, gap=Space.S), gap=Space.S)
        body.setContentsMargins(Space.M, Space.M, Space.M, Space.M)
        self.setLayout(body)

    def needed_height(self) -> int:
        lines = max(2, min(12, self.box.document().size().toSize().height()))
        return round(lines * self.box.fontMetrics().lineSpacing()) + Size.CONTROL_S + Space.S + 2 * Space.M + 12

    def _send(self) -> None:
        words = self.box.toPlainText().strip()
        if words:
            self.sent.emit(words)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            composing = bool(self.box.textCursor().block().layout().preeditAreaText())
            shift = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
            if event.key() == Qt.Key.Key_Escape:
                self.cancelled.emit()
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not composing and not shift:
                self._send()
                return True
        return False

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        box(begin(self), QRectF(self.rect()), Radius.XL, c.raised, c.focus, 1.5)
