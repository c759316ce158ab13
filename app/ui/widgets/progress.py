"""Progress: a thin bar, and the row that every long job shows: what, how far, how fast, and a way out."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Signal
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui import theme
from app.ui.tokens import Space
from app.ui.widgets.badge import Tone, tone_colors
from app.ui.widgets.button import IconButton
from app.ui.widgets.layout import Elided, column, label, row
from app.ui.widgets.painting import begin, box
from core.translation import say


class Bar(QWidget):
    """A share between 0 and 1."""

    def __init__(self, name: str, share: float = 0.0, tone: Tone = "accent", *, height: int = 5) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setFixedHeight(height)
        self._share = share
        self._tone: Tone = tone

    def set_tone(self, tone: Tone) -> None:
        self._tone = tone
        self.update()

    def set_share(self, share: float) -> None:
        self._share = min(1.0, max(0.0, share))
        self.setAccessibleDescription(f"{self._share:.0%}")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        radius = rect.height() / 2
        box(painter, rect, radius, c.pressed)
        fill = {"accent": c.accent, "neutral": c.control}.get(self._tone) or tone_colors(self._tone)[0]
        width = max(rect.height(), rect.width() * self._share)
        if self._share > 0:
            box(painter, QRectF(0, 0, width, rect.height()), radius, fill)


class ProgressRow(QWidget):
    """A running job on two lines with a way out: what, how far, how fast.

    Signals:
        cancelled: the user wants it to end; what came so far is kept for the next time
        halted: it shall pause, or go on
    """

    cancelled = Signal()
    halted = Signal()

    def __init__(self, name: str, remark: str = "", *, margin: int = Space.L, can_pause: bool = False) -> None:
        super().__init__()
        self._pause = IconButton("pause", say("kit.pause"))
        self._pause.clicked.connect(self.halted)
        if not can_pause:
            self._pause.hide()
        self._facts = label("", "caption", "soft")
        self._facts.setFont(theme.font(tabular=True))
        self._bar = Bar(name)
        stop = IconButton("close", say("kit.cancel"))
        stop.clicked.connect(self.cancelled)
        title = Elided(name, "strong")
        title.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        from_ = Elided(remark, "caption", "muted")
        from_.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        if not remark:
            from_.hide()
        head = row(title, from_, None, self._facts, gap=Space.S)
        line = row(column(head, self._bar, gap=6), self._pause, stop, gap=Space.S)
        line.setStretch(0, 1)
        tall = Space.S + 2 if margin else 0
        line.setContentsMargins(margin, tall, max(0, margin - Space.XS), tall)
        self.setLayout(line)

    def show_progress(self, share: float | None, facts: str) -> None:
        """`facts` are ready-made words: amount, speed, time left. Without a share the bar stays empty."""
        self._facts.setText(facts)
        self._bar.set_share(share or 0.0)

    def show_paused(self, paused: bool) -> None:
        """A bar that stands still is grey, and its button goes on."""
        name = say("kit.resume" if paused else "kit.pause")
        self._bar.set_tone("neutral" if paused else "accent")
        self._pause.show_as("play" if paused else "pause", name)
