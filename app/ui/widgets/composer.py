"""The message box: grows with the text, sends on Enter, turns into Stop while the model answers."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QRectF, Qt, Signal
from PySide6.QtGui import QKeyEvent, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QPlainTextEdit, QSizePolicy, QWidget

from app.ui import theme
from app.ui.tokens import Radius, Size, Space, Type
from app.ui.widgets.button import Chip, IconButton
from app.ui.widgets.layout import column, row
from app.ui.widgets.painting import begin, box, text, width_of
from core.translation import say

MAX_LINES = 9


class _Box(QPlainTextEdit):
    sent = Signal()

    def __init__(self, hint: str) -> None:
        super().__init__()
        self.setProperty("bare", True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setPlaceholderText(hint)
        self.setAccessibleName(hint)
        self.setTabChangesFocus(True)
        self.setFont(theme.font(Type.PROSE))
        self.setStyleSheet(f"font-size: {Type.PROSE.size}px;")
        self.document().setDocumentMargin(2)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.textChanged.connect(self.fit)
        self.fit()

    def fit(self) -> None:
        """Grow by lines up to the limit, then scroll."""
        lines = round(self.document().documentLayout().documentSize().height())
        line = max(self.fontMetrics().lineSpacing(), 22)
        self.setFixedHeight(max(1, min(lines, MAX_LINES)) * line + 8)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if enter and event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.insertPlainText("\n")  # a real line, not Qt's U+2028, which would reach the model
        elif enter:
            self.sent.emit()
        else:
            super().keyPressEvent(event)


class ContextMeter(QWidget):
    """A ring: how much of the model's window this conversation fills."""

    def __init__(self, name: str, used: int, window: int) -> None:
        super().__init__()
        self._used, self._window = used, window
        words = f"{used / 1024:.1f}k / {window / 1024:.0f}k"
        self._words = words
        self.setAccessibleName(f"{name} {words}")
        self.setToolTip(f"{name}: {used:,} / {window:,}")
        self.setFixedSize(round(width_of(words, theme.font(Type.CAPTION))) + 26, Size.CONTROL_S)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        share = self._used / self._window
        ring = QRectF(2, 7, 14, 14)
        painter.setPen(QPen(theme.color(c.border_strong), 2.4))
        painter.drawEllipse(ring)
        painter.setPen(QPen(theme.color(c.warn if share > 0.8 else c.accent), 2.4))
        painter.drawArc(ring, 90 * 16, -round(360 * 16 * max(share, 0.02)))
        text(
            painter,
            QRectF(22, 0, self.width(), self.height()),
            self._words,
            theme.font(Type.CAPTION, tabular=True),
            c.text_muted,
        )


class Composer(QWidget):
    """Text, attachments, the model chip, the context meter and Send or Stop."""

    submitted = Signal(str)
    stopped = Signal()

    def __init__(self, hint: str, model: str, think: str, context: ContextMeter) -> None:
        super().__init__()
        self.box = _Box(hint)
        self.model = Chip(model, "models", opens=True)
        self.think = Chip(think, "thought", checkable=True)
        self.attach = IconButton("attach", say("kit.attach"))
        self.send = IconButton("send", say("kit.send"), size=34, filled=True)
        self._busy = False
        foot = row(self.attach, self.model, self.think, None, context, self.send, gap=Space.S)
        body = column(self.box, foot, gap=Space.XS)
        body.setContentsMargins(Space.M + 2, Space.M, Space.S + 2, Space.S + 2)
        self.setLayout(body)
        self.box.sent.connect(self._submit)
        self.send.clicked.connect(self._act)
        self.box.textChanged.connect(self._settle)
        self.box.installEventFilter(self)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._settle()

    def set_busy(self, busy: bool) -> None:
        """While the model answers the round button stops it."""
        self._busy = busy
        self.send.icon_name = "stop" if busy else "send"
        self.send.setAccessibleName(say("kit.stop") if busy else say("kit.send"))
        self._settle()

    def _settle(self) -> None:
        self.send.setEnabled(self._busy or bool(self.box.toPlainText().strip()))

    def _act(self) -> None:
        if self._busy:
            self.stopped.emit()
        else:
            self._submit()

    def _submit(self) -> None:
        words = self.box.toPlainText().strip()
        if words and not self._busy:
            self.submitted.emit(words)
            self.box.clear()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        self.update()
        return False

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        focused = self.box.hasFocus()
        box(painter, rect, Radius.XL, c.raised, c.focus if focused else c.border_strong, 1.5 if focused else 1.0)
