"""What is said about a reply: its figures, why it ended early, and why nothing has come yet."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QWidget

from app.ui.tokens import Size, Space
from app.ui.widgets.badge import Tone
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Glyph, Skeleton
from app.ui.widgets.layout import label, row
from core.store.records import Message
from core.translation import catalogue, language, say

SKELETON_AFTER_MS = 300


def figures_line(message: Message, fits: Callable[[str], bool] = lambda words: True) -> str:
    """`234 tokens · 61.3 tok/s · first token 0.21 s`; less where that does not fit, "" without figures."""
    parts = _figures(message)
    lines = [" · ".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((line for line in lines if fits(line)), "")


def _figures(message: Message) -> list[str]:
    figures = message.figures
    if figures is None or not figures.new_tokens:
        return []
    count = "remote.about_tokens" if figures.is_about else "transcript.tokens"
    parts = [say(count, count=f"{figures.new_tokens:,}")]
    if figures.tokens_per_s:
        parts.append(say("transcript.speed", speed=f"{figures.tokens_per_s:.1f}"))
    parts.append(say("transcript.first_token", seconds=f"{figures.first_token_s:.2f}"))
    return parts


def figures_tip(message: Message) -> str:
    """The model, and where the figures come from."""
    figures = message.figures
    if figures is None:
        return message.model
    lines = [message.model]
    if figures.prompt_tokens:
        lines.append(say("transcript.prompt_tokens", count=f"{figures.prompt_tokens:,}"))
    if figures.reused_tokens:
        lines.append(say("transcript.reused_tokens", count=f"{figures.reused_tokens:,}"))
    return "\n".join(line for line in lines if line)


WAYS = {"continue": "transcript.continue", "regenerate": "transcript.try_again", "load": "load.open"}


class StateLine(QWidget):
    """Why a reply is not whole, with the way on.

    Signals:
        asked: "continue", "regenerate" or "load".
    """

    asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._words = label("", "caption", "soft", wrap=True)
        self._button = Button("", "secondary", small=True)
        self._action = ""
        self._button.clicked.connect(lambda: self.asked.emit(self._action))
        self._mark: Glyph | None = None
        self._body = row(self._words, self._button, gap=Space.S)
        self._body.setStretch(0, 1)
        self.setLayout(self._body)
        self.hide()

    def show_state(self, message: Message) -> None:
        """Take the sentence of the message's state; hidden where there is nothing to say."""
        words, tone = _sentence(message)
        self.setVisible(bool(words))
        if not words:
            return
        self._words.setText(words)
        if self._mark is not None:
            self._mark.hide()
            self._mark.deleteLater()
        self._mark = Glyph("error" if tone == "bad" else "info", tone, Size.ICON_S)
        self._body.insertWidget(0, self._mark)
        self._action = _way_on(message)
        self._button.setText(say(WAYS[self._action]))
        self._button.setAccessibleName(self._button.text())
        self._button.updateGeometry()

    def fit(self, width: int) -> int:
        """The height for a width in px."""
        inner = width - Size.ICON_S - self._button.sizeHint().width() - 2 * Space.S
        return max(Size.CONTROL_S, self._words.heightForWidth(max(80, inner)))


def _sentence(message: Message) -> tuple[str, Tone]:
    match message.state:
        case "done" | "streaming":
            return "", "neutral"
        case "failed":
            key = f"error.{message.error_code}"
            known = key in catalogue(language())  # an older version's error may have no sentence any more
            return (say(key, **message.error_params) if known else say("transcript.failed")), "bad"
        case "interrupted":
            return say("transcript.interrupted"), "warn"
        case "stopped":
            return say("transcript.stopped"), "neutral"
        case "cut":
            return say("transcript.cut"), "neutral"
        case "full":
            return say("transcript.full"), "neutral"


def _way_on(message: Message) -> str:
    if message.state == "full":
        return "load"
    return "continue" if message.text or message.thinking else "regenerate"


class Waiting(QWidget):
    """Grey lines where the reply will be, after a while; and the reason where there is one.

    Signals:
        grew: the height that `fit()` would return has changed.
    """

    grew = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._words = label("", "caption", "muted")
        self._words.setParent(self)
        self._words.hide()
        self._skeleton = Skeleton(2)
        self._skeleton.setParent(self)
        self._skeleton.hide()
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(SKELETON_AFTER_MS)
        self._later.timeout.connect(self._skeleton.show)
        self.hide()

    def begin(self) -> None:
        if self.isHidden():
            self._words.hide()
            self.show()
            self._later.start()

    def say(self, words: str) -> None:
        if self.isHidden():
            return
        was_hidden = self._words.isHidden()
        self._words.setText(words)
        self._words.setVisible(bool(words))
        self._words.resize(self.width(), Size.CONTROL_S)
        if was_hidden != self._words.isHidden():
            self.grew.emit()

    def end(self) -> None:
        if not self.isHidden():
            self._later.stop()
            self._skeleton.hide()
            self.hide()
            self.grew.emit()

    def fit(self, width: int) -> int:
        """The height for a width in px: the same with and without the grey lines."""
        top = 0
        if not self._words.isHidden():
            self._words.setGeometry(0, 0, width, 22)
            top = 22
        self._skeleton.setGeometry(0, top, width, 44)
        return top + 44
