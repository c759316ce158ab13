"""The model's thinking: one line with its seconds, the words below it behind a rail.

Invariant: it is open while it streams and folds when the answer begins, unless the user has chosen.
"""

from __future__ import annotations

import time

from PySide6.QtCore import QRectF, QTimer, Signal
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QWidget

from app.ui import icons, theme
from app.ui.tokens import Radius, Size, TextStyle, Type
from app.ui.widgets.button import Pressable
from app.ui.widgets.painting import begin, box, focus_ring, text, width_of
from app.ui.widgets.prose import Text
from core.translation import say

LEFT = 22
_STYLE = TextStyle(14, 400, 1.55)


class ThinkingFold(Pressable):
    """The line that opens and closes the model's thinking."""

    def __init__(self) -> None:
        super().__init__("")
        self.setCheckable(True)

    def say(self, title: str) -> None:
        self.setText(title)
        self.setAccessibleName(title)
        self.resize(round(width_of(title, theme.font(Type.BODY_STRONG, tabular=True))) + 48, Size.CONTROL_S)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        tint = c.text_soft if self.hovered else c.text_muted
        icons.paint(painter, "thought", 0, 6, 16, tint)
        font = theme.font(Type.BODY_STRONG, tabular=True)
        used = text(painter, rect.adjusted(LEFT, 0, 0, 0), self.text(), font, tint)
        icons.paint(painter, "down" if self.isChecked() else "right", 26 + used, 6, 16, tint)
        if self.ring:
            focus_ring(painter, rect, Radius.M)


class Thinking(QWidget):
    """Signals:

    grew: the height that `fit()` would return has changed.
    """

    grew = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.words = ""
        self._news: list[str] = []
        self._chosen = False
        self._stale = True
        self._began = 0.0
        self._width = 0
        self._height = 0
        self._fold = ThinkingFold()
        self._fold.setParent(self)
        self._fold.clicked.connect(self._on_clicked)
        self._text = Text(_STYLE, tone="text_muted")
        self._text.setParent(self)
        self._text.setAccessibleName(say("transcript.thinking_text"))
        self._clock = QTimer(self)
        self._clock.setInterval(1000)
        self._clock.timeout.connect(self._tick)
        theme.state.changed.connect(self.redraw)
        self._open(False)

    def show_done(self, words: str, seconds: float) -> None:
        """Thinking that is over. `seconds` 0: not known."""
        self._clock.stop()
        self._news.clear()
        if words.strip("\n") != self.words:
            self.words, self._stale = words.strip("\n"), True
        self._fold.say(
            say("transcript.thought_for", seconds=f"{seconds:.1f}") if seconds else say("transcript.thought")
        )
        if not self._chosen:
            self._open(False)
        self._settle()

    def feed(self, words: str) -> None:
        """More thinking; the clock starts with the first words."""
        if not self._clock.isActive():
            self._began = time.monotonic()
            self._clock.start()
            self._tick()
            if not self._chosen:
                self._open(True)
        self._news.append(words)

    def flush(self) -> None:
        """Draw what was fed; while folded it is only kept."""
        came = "".join(self._news)
        words = came.rstrip("\n")
        self._news = [came[len(words) :]] if came != words else []  # line ends wait: last of all they show nothing
        words = words if self.words else words.lstrip("\n")
        if not words:
            return
        self.words += words
        if self._fold.isChecked() and not self._stale:
            self._text.append_plain(words)
            self._settle()
        else:
            self._stale = True

    @property
    def is_running(self) -> bool:
        return self._clock.isActive()

    @property
    def seconds(self) -> float:
        """Since the first words, while it runs."""
        return time.monotonic() - self._began

    def end(self) -> None:
        """The answer begins."""
        self.flush()
        self.show_done(self.words, self.seconds if self.is_running else 0.0)

    def _tick(self) -> None:
        self._fold.say(say("transcript.thinking", seconds=int(self.seconds)))

    def _on_clicked(self) -> None:
        self._chosen = True
        self._open(self._fold.isChecked())
        self._settle()

    def _open(self, on: bool) -> None:
        self._fold.setChecked(on)
        self._fold.setAccessibleDescription(say("transcript.open" if on else "transcript.folded"))
        if on and self._stale:
            self._text.show_plain(self.words)
            self._stale = False
        self._text.setVisible(on)

    def redraw(self) -> None:
        self._text.dress()
        self._stale = True
        self._fold.say(self._fold.text())
        self._open(self._fold.isChecked())
        self._settle()

    def fit(self, width: int) -> int:
        """Lay out for a width in px; returns the height."""
        self._width = width
        self._lay()
        return self._height

    def _lay(self) -> bool:
        height = Size.CONTROL_S
        self._fold.move(0, 0)
        if self._fold.isChecked():
            inner = self._width - LEFT
            used = self._text.fit(inner)
            self._text.setGeometry(LEFT, height + 2, inner, used)
            height += used + 6
        before, self._height = self._height, height
        return before != height

    def _settle(self) -> None:
        if self._width and self._lay():
            self.resize(self._width, self._height)
            self.grew.emit()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._fold.isChecked():
            rail = QRectF(7, Size.CONTROL_S + 4, 2, self.height() - Size.CONTROL_S - 10)
            box(begin(self), rail, 1, theme.colors().border_strong)
