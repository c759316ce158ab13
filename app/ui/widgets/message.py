"""One message of a transcript: the user's bubble, or the model's answer with thinking, figures and actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PySide6.QtCore import QEvent, QObject, QRectF, Qt, Signal
from PySide6.QtGui import QEnterEvent, QPaintEvent
from PySide6.QtWidgets import QGraphicsOpacityEffect, QSizePolicy, QVBoxLayout, QWidget

from app.ui import icons, theme
from app.ui.tokens import Radius, Size, Space, TextStyle, Type
from app.ui.widgets.button import IconButton, Pressable
from app.ui.widgets.layout import column, label, row
from app.ui.widgets.painting import begin, box, focus_ring, text, width_of
from app.ui.widgets.prose import Markdown, Text, ink
from core.translation import say


class Turn(NamedTuple):
    """What a message shows. Figures are ready-made words; the caller knows the language."""

    text: str
    user: bool = False
    model: str = ""
    thinking: str = ""
    thinking_title: str = ""
    figures: str = ""
    sibling: str = ""
    attachments: tuple[str, ...] = ()


class Actions(QWidget):
    """Icon actions that take their room always and show on hover or when one of them has the focus."""

    asked = Signal(str)

    def __init__(self, entries: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        body = row(gap=0)
        for icon, name in entries:
            button = IconButton(icon, name)
            button.clicked.connect(lambda _checked=False, icon=icon: self.asked.emit(icon))
            button.installEventFilter(self)
            body.addWidget(button)
        self.setLayout(body)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._effect = QGraphicsOpacityEffect(self)
        self.setGraphicsEffect(self._effect)
        self.reveal(False)

    def reveal(self, on: bool) -> None:
        self._effect.setOpacity(1.0 if on else 0.0)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FocusIn:
            self.reveal(True)
        return False


class ThinkingFold(Pressable):
    """The line that opens and closes the model's thinking."""

    def __init__(self, title: str, is_open: bool = False) -> None:
        super().__init__(title)
        self.setText(title)
        self.setCheckable(True)
        self.setChecked(is_open)
        self.setFixedHeight(Size.CONTROL_S)
        self.setFixedWidth(round(width_of(title, theme.font(Type.BODY_STRONG))) + 56)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        tint = c.text_soft if self.hovered else c.text_muted
        icons.paint(painter, "thought", 0, 6, 16, tint)
        used = text(painter, rect.adjusted(22, 0, 0, 0), self.text(), theme.font(Type.BODY_STRONG), tint)
        icons.paint(painter, "down" if self.isChecked() else "right", 26 + used, 6, 16, tint)
        if self.ring:
            focus_ring(painter, rect, Radius.M)


class Thinking(QWidget):
    """Folded by default once the answer has begun; the text stands behind a line."""

    def __init__(self, title: str, words: str, *, is_open: bool = False) -> None:
        super().__init__()
        self._fold = ThinkingFold(title, is_open)
        self._text = Text(TextStyle(14, 400, 1.55))
        self._words = words
        self._body = QWidget()
        inner = row(self._text)
        inner.setContentsMargins(22, 2, 0, Space.XS)
        self._body.setLayout(inner)
        self._body.setVisible(is_open)
        self._fold.toggled.connect(self._body.setVisible)
        self.setLayout(column(self._fold, self._body, gap=0))
        self.redraw()
        theme.state.changed.connect(self.redraw)

    def redraw(self) -> None:
        self._text.show_plain(self._words, [(0, len(self._words), ink(theme.colors().text_muted))])

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._body.isVisible():
            rail = QRectF(7, self._body.y() + 2, 2, self._body.height() - 14)
            box(begin(self), rail, 1, theme.colors().border_strong)


class Siblings(QWidget):
    """The switch between versions of one message: ‹ 2 / 3 ›."""

    moved = Signal(int)

    def __init__(self, words: str) -> None:
        super().__init__()
        back, forth = IconButton("left", say("kit.previous_version")), IconButton("right", say("kit.next_version"))
        back.setFixedWidth(20)
        forth.setFixedWidth(20)
        back.clicked.connect(lambda: self.moved.emit(-1))
        forth.clicked.connect(lambda: self.moved.emit(1))
        self.setLayout(row(back, label(words, "caption", "soft"), forth, gap=0))


class Bubble(QWidget):
    """The user's words on a tinted ground at the right."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._text = Text()
        body = row(self._text)
        body.setContentsMargins(Space.L, Space.S + 2, Space.L, Space.S + 2)
        self.setLayout(body)
        font = theme.font(Type.PROSE, literal=True)
        longest = max(width_of(line, font) for line in words.splitlines() or [""])
        self._text.setFixedWidth(round(min(longest + 6, Size.READING * 0.8)))
        self._text.show_plain(words, [])
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def paintEvent(self, event: QPaintEvent) -> None:
        box(begin(self), QRectF(self.rect()), Radius.XL, theme.colors().bubble)


class Message(QWidget):
    """One turn. Hover or keyboard focus brings its actions."""

    asked = Signal(str)

    def __init__(self, turn: Turn, *, thinking_open: bool = False, actions_shown: bool = False) -> None:
        super().__init__()
        self._pinned = actions_shown
        names: Sequence[tuple[str, str]]
        if turn.user:
            names = [("copy", say("kit.copy")), ("edit", say("kit.edit")), ("branch", say("kit.branch"))]
        else:
            names = [
                ("copy", say("kit.copy")),
                ("refresh", say("kit.again")),
                ("branch", say("kit.branch")),
                ("more", say("kit.more")),
            ]
        self._actions = Actions(names)
        self._actions.asked.connect(self.asked)
        self._actions.reveal(actions_shown)
        self.setLayout(self._user(turn) if turn.user else self._model(turn, thinking_open))

    def _user(self, turn: Turn) -> QVBoxLayout:
        line = row(None, self._actions, Bubble(turn.text), gap=Space.XS)
        line.setAlignment(self._actions, Qt.AlignmentFlag.AlignBottom)
        line.setContentsMargins(0, 0, 0, Space.M)
        if not turn.sibling:
            return column(line)
        line.setContentsMargins(0, 0, 0, 0)
        return column(line, row(None, Siblings(turn.sibling)), gap=Space.XXS)

    def _model(self, turn: Turn, thinking_open: bool) -> QVBoxLayout:
        body = column(gap=Space.XS)
        if turn.thinking:
            body.addWidget(Thinking(turn.thinking_title, turn.thinking, is_open=thinking_open))
        body.addWidget(Markdown(turn.text))
        foot = row(gap=Space.S)
        if turn.sibling:
            foot.addWidget(Siblings(turn.sibling))
        figures = label(turn.figures, "caption", "muted")
        figures.setToolTip(turn.model)
        foot.addWidget(figures)
        foot.addStretch(1)
        foot.addWidget(self._actions)
        body.addLayout(foot)
        return body

    def enterEvent(self, event: QEnterEvent) -> None:
        self._actions.reveal(True)

    def leaveEvent(self, event: QEvent) -> None:
        self._actions.reveal(self._pinned)
