"""The message box: grows with the text, sends on Enter, turns into Stop while the model answers.

Invariant: what the user typed is never lost; it leaves the box only as a submitted message.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QMimeData, QObject, QRectF, Qt, Signal
from PySide6.QtGui import QFontMetricsF, QKeyEvent, QPaintEvent, QPen, QResizeEvent, QTextDocumentFragment
from PySide6.QtWidgets import QFrame, QPlainTextEdit, QSizePolicy, QWidget

from app.ui import theme
from app.ui.tokens import Radius, Size, Space, Type
from app.ui.widgets.button import Chip, IconButton, Pressable
from app.ui.widgets.layout import Elided, column, row
from app.ui.widgets.painting import begin, box, focus_ring, text, width_of
from core.translation import say

MAX_LINES = 9
NEARLY_FULL = 0.8
WIDEST_NAME = 240  # px
NARROW = 340  # px of the whole: beside the inspector, which shows the context too, in the smallest window


class MessageBox(QPlainTextEdit):
    """Plain text only, whatever is pasted.

    Signals:
        sent: Enter was pressed, not within an input method's composition.
    """

    sent = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("bare", True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setTabChangesFocus(True)
        self.document().setDocumentMargin(2)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.textChanged.connect(self.fit)
        theme.state.changed.connect(self.dress)
        self.dress()

    def dress(self) -> None:
        """Take the font of the theme in force."""
        self.setFont(theme.font(Type.PROSE, literal=True))
        self.fit()

    def fit(self) -> None:
        """Grow by lines up to the limit, then scroll. Measured line by line: Chinese ones are taller."""
        height, lines = 0.0, 0
        block = self.document().begin()
        while block.isValid() and lines < MAX_LINES:
            rect = self.blockBoundingRect(block)
            count = max(1, block.layout().lineCount())
            taken = min(count, MAX_LINES - lines)
            height += rect.height() / count * taken
            lines += taken
            block = block.next()
        self.setFixedHeight(round(max(height, self.fontMetrics().lineSpacing())) + 8)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.fit()

    @property
    def is_composing(self) -> bool:
        """Whether an input method is in the middle of a word: its Enter chooses, it does not send."""
        return bool(self.textCursor().block().layout().preeditAreaText())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if not enter or self.is_composing:
            super().keyPressEvent(event)
        elif event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.insertPlainText("\n")  # a real line, not Qt's U+2028, which would reach the model
            self.ensureCursorVisible()
        else:
            self.sent.emit()

    def canInsertFromMimeData(self, source: QMimeData) -> bool:
        return source.hasText() or source.hasHtml()

    def insertFromMimeData(self, source: QMimeData) -> None:
        words = source.text() if source.hasText() else QTextDocumentFragment.fromHtml(source.html()).toPlainText()
        for sign in ("\r\n", "\r", "\u2028", "\u2029"):
            words = words.replace(sign, "\n")
        self.insertPlainText(words)
        self.ensureCursorVisible()


class ContextMeter(Pressable):
    """A ring: how much of the model's window this conversation fills. Clicked, it asks for the details."""

    def __init__(self) -> None:
        super().__init__(say("transcript.context"))
        self._used, self._window, self._warning = 0, 0, ""
        self._gives_way = False
        theme.state.changed.connect(self._say)
        self._say()

    def show_use(self, used: int, window: int, warning: str = "") -> None:
        """Tokens used of the model's window; hidden while the window is not known (0). `warning`: what to know of a
        conversation of this length."""
        self._used, self._window, self._warning = used, window, warning
        self._say()

    def give_way(self, on: bool) -> None:
        """Others need the room."""
        if on != self._gives_way:
            self._gives_way = on
            self._say()

    @property
    def share(self) -> float:
        return self._used / self._window if self._window else 0.0

    def _say(self) -> None:
        self.setVisible(self._window > 0 and not self._gives_way)
        self._words = f"{_short(self._used)} / {_short(self._window)}"
        key = "transcript.context_nearly_full" if self.share > NEARLY_FULL else "transcript.context_used"
        sentence = say(key, used=f"{self._used:,}", window=f"{self._window:,}")
        sentence = f"{sentence}\n{self._warning}" if self._warning else sentence
        self.setAccessibleDescription(sentence)
        self.setToolTip(sentence)
        self.setFixedSize(round(width_of(self._words, theme.font(Type.CAPTION, tabular=True))) + 26, Size.CONTROL_S)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        full = self.share > NEARLY_FULL or bool(self._warning)
        if veil := self.veil():
            box(painter, QRectF(self.rect()), Radius.M, veil)
        ring = QRectF(2, 7, 14, 14)
        painter.setPen(QPen(theme.color(c.border_strong), 2.4))
        painter.drawEllipse(ring)
        painter.setPen(QPen(theme.color(c.warn if full else c.accent), 2.4))
        painter.drawArc(ring, 90 * 16, -round(360 * 16 * min(1.0, max(self.share, 0.02))))
        words = QRectF(22, 0, self.width(), self.height())
        text(painter, words, self._words, theme.font(Type.CAPTION, tabular=True), c.warn if full else c.text_muted)
        if self.ring:
            focus_ring(painter, QRectF(self.rect()), Radius.M)


class Composer(QWidget):
    """Text, the model chip, the think toggle, the context meter and Send or Stop.

    Signals:
        submitted: the message; the box is emptied.
        stopped: Stop was pressed.
        model_clicked: the model chip was pressed.
        think_toggled: whether the model shall think.
        draft_changed: what stands in the box.
    """

    submitted = Signal(str)
    stopped = Signal()
    model_clicked = Signal()
    think_toggled = Signal(bool)
    draft_changed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.box = MessageBox()
        self.model = Chip(say("transcript.choose_model"), "models", opens=True)
        self.think = Chip(say("transcript.think"), "thought", checkable=True)
        self.meter = ContextMeter()
        self.reason = Elided("", "caption", "muted")
        self.send = IconButton("send", say("kit.send"), size=34, filled=True)
        self._busy, self._blocked = False, ""
        foot = row(self.model, self.think, self.reason, self.meter, self.send, gap=Space.S)
        foot.setStretch(2, 1)
        body = column(self.box, foot, gap=Space.XS)
        body.setContentsMargins(Space.M + 2, Space.M, Space.S + 2, Space.S + 2)
        self.setLayout(body)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.box.setPlaceholderText(say("transcript.ask"))
        self.box.setAccessibleName(say("transcript.ask"))
        self.think.setToolTip(say("transcript.think_tip"))
        self.think.hide()
        self.box.sent.connect(self.submit)
        self.box.textChanged.connect(self._on_text)
        self.box.installEventFilter(self)
        self.send.clicked.connect(self._act)
        self.model.clicked.connect(lambda: self.model_clicked.emit())
        self.think.toggled.connect(self.think_toggled)
        self._settle()

    def show_model(self, name: str) -> None:
        """The model that will answer; "" while none is chosen."""
        words = name or say("transcript.choose_model")
        metrics = QFontMetricsF(theme.font(Type.CAPTION_STRONG))
        self.model.setText(metrics.elidedText(words, Qt.TextElideMode.ElideMiddle, WIDEST_NAME))
        self.model.setToolTip(name)
        self.model.setAccessibleName(words)
        self.model.updateGeometry()
        self.model.update()

    def set_hint(self, words: str) -> None:
        """What stands in the empty box; "" is the usual invitation."""
        hint = words or say("transcript.ask")
        self.box.setPlaceholderText(hint)
        self.box.setAccessibleName(hint)

    def show_thinking(self, on: bool | None) -> None:
        """Whether the model shall think; None hides the toggle: this model cannot."""
        quiet = self.think.blockSignals(True)
        self.think.setVisible(on is not None)
        self.think.setChecked(bool(on))
        self.think.blockSignals(quiet)

    def set_busy(self, busy: bool) -> None:
        """While the model answers the round button stops it; the draft stays editable."""
        self._busy = busy
        self._settle()

    @property
    def is_busy(self) -> bool:
        return self._busy

    def toggle_thinking(self) -> None:
        """For the key; nothing where the model cannot think."""
        if not self.think.isHidden():
            self.think.toggle()

    def set_blocked(self, reason: str) -> None:
        """Why nothing can be sent now, in words that stand beside the button; "" when it can."""
        self._blocked = reason
        self._settle()

    @property
    def draft(self) -> str:
        return self.box.toPlainText()

    def set_draft(self, words: str) -> None:
        """Put a text into the box without telling anyone."""
        quiet = self.blockSignals(True)
        self.box.setPlainText(words)
        self.box.moveCursor(self.box.textCursor().MoveOperation.End)
        self.blockSignals(quiet)

    def _on_text(self) -> None:
        self._settle()
        self.draft_changed.emit(self.draft)

    def _settle(self) -> None:
        why = self._blocked or ("" if self.draft.strip() else say("transcript.empty_message"))
        name = say("kit.stop") if self._busy else say("kit.send")
        self.send.icon_name = "stop" if self._busy else "send"
        if self.send.hasFocus() and why and not self._busy:
            self.box.setFocus()  # else Qt gives it to whatever comes next
        self.send.setEnabled(self._busy or not why)
        self.send.setAccessibleName(name)
        self.send.setToolTip(name if self.send.isEnabled() else why)
        self.send.update()
        self.reason.setText("" if self._busy else self._blocked)

    def _act(self) -> None:
        if self._busy:
            self.stopped.emit()
        else:
            self.submit()

    def submit(self) -> None:
        """Send what stands in the box, if anything can be sent now."""
        words = self.draft.strip()
        if words and not self._busy and not self._blocked:
            self.box.clear()
            self.submitted.emit(words)

    def resizeEvent(self, event: QResizeEvent) -> None:
        self.meter.give_way(self.width() < NARROW)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
            self.update()
        return False

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        focused = self.box.hasFocus()
        line = c.focus if focused else c.border_strong
        box(begin(self), QRectF(self.rect()), Radius.XL, c.raised, line, 1.5 if focused else 1.0)


def _short(tokens: int) -> str:
    return str(tokens) if tokens < 1000 else f"{tokens / 1024:.1f}k" if tokens < 10_240 else f"{tokens / 1024:.0f}k"
