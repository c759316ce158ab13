"""One message as a row of the transcript: the user's bubble, or the model's reply with all that belongs to it.

Invariant: a row never decides its width; `fit(width)` lays it out and returns its height, `grew` says to ask again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from PySide6.QtCore import QEvent, QRectF, Qt, Signal
from PySide6.QtGui import (
    QContextMenuEvent,
    QEnterEvent,
    QFocusEvent,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
    QPaintEvent,
)
from PySide6.QtWidgets import QWidget

from app.ui import theme
from app.ui.tokens import Radius, Size, Space
from app.ui.transcript.reply import ReplyBody
from app.ui.transcript.states import StateLine, Waiting, figures_line, figures_tip
from app.ui.transcript.thinking import Thinking
from app.ui.widgets.focus import holds_focus
from app.ui.widgets.layout import label, row
from app.ui.widgets.menu import Menu
from app.ui.widgets.message import BUBBLE_SHARE, Actions, Bubble, MessageEditor, Siblings
from app.ui.widgets.painting import KEYBOARD, begin, focus_ring
from app.ui.widgets.prose import Text
from core.store.records import Message
from core.translation import say

FOOT = Size.CONTROL_S


class Row(QWidget):
    """What the two kinds of row share: focus, hover, menu.

    Signals:
        asked: the name of an action.
        moved: the arrow keys want another message: -1, 1, or -2, 2 for the first and the last.
        grew: the height that `fit()` would return has changed.
    """

    asked = Signal(str)
    moved = Signal(int)
    grew = Signal()

    def __init__(self, message: Message, names: Sequence[tuple[str, str, str]]) -> None:
        super().__init__()
        self.message = message
        self._names = names
        self._width = 0
        self._ring = False
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.actions_shown = False
        self._actions = Actions(names)
        self._actions.setParent(self)
        self._actions.asked.connect(self.ask)
        self._siblings = Siblings()
        self._siblings.setParent(self)
        self._siblings.moved.connect(lambda step: self.ask("next" if step > 0 else "previous"))

    def fit(self, width: int) -> int:
        """Lay out for a width in px; returns the height."""
        raise NotImplementedError

    def show_message(self, message: Message) -> None:
        """Show another state of the same message."""
        raise NotImplementedError

    @property
    def is_filling(self) -> bool:
        """Whether a long text is still being laid out: the height is not final."""
        return False

    def ask(self, action: str) -> None:
        if action == "more":
            self.open_menu()
            return
        if action == "copy":
            QGuiApplication.clipboard().setText(self.copied())
        self.asked.emit(action)

    def copied(self) -> str:
        """What Copy puts on the clipboard: the source of the whole message."""
        return self.message.text

    def pin_actions(self, on: bool) -> None:
        """Show the actions always: the last reply."""
        self.actions_shown = on
        self._actions.reveal(on or self.underMouse())

    def open_menu(self) -> None:
        """Everything hover shows, for the keyboard and the right mouse button."""
        menu = Menu(self)
        selected = next((text.selected() for text in self.findChildren(Text) if text.textCursor().hasSelection()), "")
        if selected:
            menu.add(say("transcript.copy_selection"), lambda: QGuiApplication.clipboard().setText(selected), "copy")
        for name, icon, word in (*self._names, *self.extra_actions()):
            if name != "more":
                menu.add(word, partial(self.ask, name), icon)
        at = self._actions.mapToGlobal(self._actions.rect().bottomLeft())
        menu.popup(at)

    def extra_actions(self) -> Sequence[tuple[str, str, str]]:
        """Actions that only the menu has."""
        return ()

    # what Qt calls

    def enterEvent(self, event: QEnterEvent) -> None:
        self._actions.reveal(True)

    def leaveEvent(self, event: QEvent) -> None:
        self._actions.reveal(self.actions_shown)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        self.open_menu()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1, Qt.Key.Key_Home: -2, Qt.Key.Key_End: 2}
        key = Qt.Key(event.key())
        if event.matches(QKeySequence.StandardKey.Copy):
            self.ask("copy")
        elif key in steps and not event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier:
            self.moved.emit(steps[key])
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Menu):
            self.open_menu()
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._ring = event.reason() in (*KEYBOARD, Qt.FocusReason.OtherFocusReason)
        if self._ring:
            self._actions.reveal(True)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._ring = False
        self._actions.reveal(self.actions_shown or self.underMouse())
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._ring:
            focus_ring(begin(self), QRectF(self.rect()), Radius.M)


class UserRow(Row):
    """The user's words at the right; editing happens in their place.

    Signals:
        edited: the new text.
    """

    edited = Signal(str)

    def __init__(self, message: Message) -> None:
        names = (
            ("copy", "copy", say("kit.copy")),
            ("edit", "edit", say("kit.edit")),
            ("branch", "branch", say("kit.branch")),
        )
        super().__init__(message, names)
        self._editor: MessageEditor | None = None
        self._bubble = Bubble(message.text)
        self._bubble.setParent(self)
        theme.state.changed.connect(self._redraw)
        self.show_message(message)

    def show_message(self, message: Message) -> None:
        if message.text != self.message.text:
            self._bubble.setParent(None)
            self._bubble.deleteLater()
            self._bubble = Bubble(message.text)
            self._bubble.setParent(self)
            self._bubble.show()
        self.message = message
        self._siblings.show_place(message.sibling, message.siblings)
        self.setAccessibleName(say("transcript.you_said", text=message.text[:200]))
        self.grew.emit()

    def _redraw(self) -> None:
        self._bubble.redraw()
        self.grew.emit()

    def ask(self, action: str) -> None:
        if action == "edit":
            self.edit()
        else:
            super().ask(action)

    def edit(self) -> None:
        """Put the text box in the place of the bubble."""
        if self._editor is None:
            editor = self._editor = MessageEditor(self.message.text)
            editor.setParent(self)
            editor.sent.connect(self._on_sent)
            editor.cancelled.connect(self._close_editor)
            editor.grew.connect(self.grew)
            editor.show()
            self._bubble.hide()
            self._actions.hide()
            self._siblings.hide()
            self.grew.emit()
            editor.box.setFocus()
            editor.box.moveCursor(editor.box.textCursor().MoveOperation.End)

    @property
    def is_editing(self) -> bool:
        return self._editor is not None

    def _on_sent(self, words: str) -> None:
        self._close_editor()
        if words != self.message.text:
            self.edited.emit(words)

    def _close_editor(self) -> None:
        editor, self._editor = self._editor, None
        if editor is not None:
            editor.hide()
            editor.deleteLater()
            self._bubble.show()
            self._actions.show()
            self._siblings.show_place(self.message.sibling, self.message.siblings)
            self.grew.emit()
            self.setFocus()

    def fit(self, width: int) -> int:
        self._width = width
        if self._editor is not None:
            self._editor.setGeometry(0, 0, width, self._editor.height())
            height = self._editor.needed_height()
            self._editor.setGeometry(0, 0, width, height)
            return height + Space.L
        size = self._bubble.fit(round(width * BUBBLE_SHARE))
        self._bubble.setGeometry(width - size.width(), 0, size.width(), size.height())
        actions = self._actions.sizeHint()
        left = max(0, width - size.width() - actions.width() - Space.XS)
        self._actions.setGeometry(left, size.height() - actions.height() - Space.XS, actions.width(), actions.height())
        below = size.height()
        if self.message.siblings > 1:
            hint = self._siblings.sizeHint()
            self._siblings.setGeometry(width - hint.width(), below + Space.XXS, hint.width(), FOOT)
            return below + Space.XXS + FOOT + Space.S
        return below + Space.L


class ReplyRow(Row):
    """The model's reply: thinking, answer, what became of it, versions, figures and actions."""

    def __init__(self, message: Message) -> None:
        names = (
            ("copy", "copy", say("kit.copy")),
            ("regenerate", "refresh", say("kit.again")),
            ("branch", "branch", say("kit.branch")),
            ("more", "more", say("kit.more")),
        )
        super().__init__(message, names)
        self.body = ReplyBody()
        self.thinking = Thinking()
        self._state = StateLine()
        self._waiting = Waiting()
        self._figures = label("", "caption", "muted")
        self._foot = QWidget()
        self._foot.setLayout(row(self._siblings, self._figures, None, self._actions, gap=Space.S))
        for part in (self.thinking, self.body, self._waiting, self._state, self._foot):
            part.setParent(self)
        for source in (self.body, self.thinking, self._waiting):
            source.grew.connect(self.grew)
        self._state.asked.connect(self.ask)
        self._streaming = False
        self._grown: list[str] = []
        self.thinking.hide()
        self.show_message(message)

    @property
    def is_streaming(self) -> bool:
        return self._streaming

    @property
    def is_filling(self) -> bool:
        return self.body.is_filling

    def show_message(self, message: Message) -> None:
        was_streaming, shown = self._streaming, self.copied()
        self._streaming = message.state == "streaming"
        self._grown.clear()
        if was_streaming and self._streaming:
            message = replace(message, text=shown, thinking=self.thinking.words)  # what was saved lags behind
        elif message.text != shown or self._streaming or not self.body.parts():
            self.body.show_text(message.text, is_whole=not self._streaming)
        elif was_streaming:
            self.body.finish()
        self.message = message
        if not (was_streaming and self._streaming):
            self._show_thinking(message)
        self._show_state(message)
        self.grew.emit()

    def _show_thinking(self, message: Message) -> None:
        self.thinking.setVisible(bool(message.thinking))
        if message.thinking and self._streaming and not message.text:
            self.thinking.feed(message.thinking)
            self.thinking.flush()
        elif message.thinking:
            self.thinking.show_done(message.thinking, message.figures.thinking_s if message.figures else 0.0)

    def copied(self) -> str:
        return self.message.text + "".join(self._grown)

    def _show_state(self, message: Message) -> None:
        waiting = self._streaming and not message.text and not message.thinking
        self._waiting.begin() if waiting else self._waiting.end()
        held_focus = holds_focus(self)
        self._state.show_state(message)
        self._siblings.show_place(message.sibling, message.siblings)
        self._foot.setVisible(not self._streaming)
        if held_focus and not holds_focus(self):
            self.setFocus()  # a button that had it is hidden now
        self._figures.setText(figures_line(message))
        self._figures.setToolTip(figures_tip(message))
        self.setAccessibleName(say("transcript.model_said", model=message.model, text=message.text[:200]))
        self.setAccessibleDescription(figures_line(message))

    def _show_figures(self, width: int) -> None:
        """As many as there is room for between the versions and the actions."""
        others = (self._siblings, self._actions) if self.message.siblings > 1 else (self._actions,)
        room = width - sum(part.sizeHint().width() + Space.S for part in others) - Space.S
        metrics = self._figures.fontMetrics()
        self._figures.setText(figures_line(self.message, lambda words: metrics.horizontalAdvance(words) <= room))

    def wait_with(self, words: str) -> None:
        """Why nothing has come yet, such as how far the model is loaded."""
        self._waiting.say(words)

    def grow(self, text: str, thinking: str) -> None:
        """More of the reply; nothing is drawn before `flush()`."""
        if thinking:
            self.thinking.show()
            self.thinking.feed(thinking)
        if text:
            if self.thinking.is_running:
                self.thinking.end()
            self._grown.append(text)
            self.body.feed(text)
        self._waiting.end()

    def flush(self) -> None:
        """Draw what has come since the last time."""
        self.thinking.flush()
        self.body.flush()

    def extra_actions(self) -> Sequence[tuple[str, str, str]]:
        if self._streaming or self.message.state in ("done", "full"):
            return ()
        return (("continue", "play", say("transcript.continue")),)

    def fit(self, width: int) -> int:
        self._width = width
        self._show_figures(width)
        y = 0
        for part, above in (
            (self.thinking, 0),
            (self.body, Space.XS),
            (self._waiting, Space.XS),
            (self._state, Space.S),
        ):
            if part.isHidden():
                continue
            height = part.fit(width)
            top = y + (above if y else 0)
            part.setGeometry(0, top, width, height)
            y = top + height if height else y
        self._foot.setGeometry(0, y + Space.XS, width, FOOT)
        return y + Space.XS + FOOT + Space.L
