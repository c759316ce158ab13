"""How full the model's context is, and what happens to a conversation that outgrows what the model was trained on.

Invariant: three lengths are never mixed up: what is used, what the model was trained on, and the limit it was loaded
with; a number that is not known is not shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QRectF, Signal
from PySide6.QtGui import QPaintEvent, QPen
from PySide6.QtWidgets import QLabel, QWidget

from app.ui import theme
from app.ui.tokens import Space, Type
from app.ui.widgets.button import Button
from app.ui.widgets.layout import column, label, pane, row
from app.ui.widgets.painting import begin, box
from core import figures
from core.translation import say

LINES = ("used", "trained", "limit", "dropped", "alpha", "logn")


@dataclass(frozen=True, slots=True)
class ContextUse:
    """Tokens. limit 0: nothing is known yet. trained 0: not known, or all of the limit.

    alpha: how far the first generation stretched its positions for the last prompt, 1 is not at all, 0 not known
    dropped: how many of the oldest messages were left out of the last prompt
    is_known: False where there are messages that this program has not counted yet
    """

    used: int = 0
    limit: int = 0
    trained: int = 0
    ntk: bool = False
    logn: bool = False
    alpha: float = 0.0
    dropped: int = 0
    is_known: bool = True

    @property
    def is_past_trained(self) -> bool:
        return 0 < self.trained < self.used

    def warning(self) -> str:
        """What it means for the answers, "" while all is well."""
        if not self.is_past_trained:
            return ""
        sizes = {"used": figures.count(self.used), "trained": figures.count(self.trained)}
        if self.ntk and self.logn:
            return say("context.past_ntk_logn", **sizes)
        if self.ntk:
            return say("context.past_ntk", **sizes)
        return say("context.past_plain", **sizes)


class ContextBar(QWidget):
    """Used tokens against the limit; what lies beyond the trained length has a colour of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._use = ContextUse()
        self.setAccessibleName(say("context.title"))
        self.setFixedHeight(14)

    def show_use(self, use: ContextUse) -> None:
        self._use = use
        words = say("context.used_of", used=figures.count(use.used), limit=figures.count(use.limit))
        self.setAccessibleDescription(f"{words} {use.warning()}".strip())
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        use = self._use
        rail = QRectF(0, 4, self.width(), 6)
        box(painter, rail, 3, c.pressed)
        if not use.limit:
            return
        place = self.width() / use.limit
        inside = min(use.used, use.trained or use.limit) * place
        if use.used:
            box(painter, QRectF(0, 4, max(6.0, inside), 6), 3, c.accent)
        if use.is_past_trained:
            beyond = (min(use.used, use.limit) - use.trained) * place
            box(painter, QRectF(inside, 4, max(3.0, beyond), 6), 3, c.series[2])
        if 0 < use.trained < use.limit:
            painter.setPen(QPen(theme.color(c.text_soft), 1.5))
            painter.drawLine(round(use.trained * place), 1, round(use.trained * place), 13)


class ContextView(QWidget):
    """
    Signals:
        explain_asked: what the lengths mean
    """

    explain_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.bar = ContextBar()
        self._values: dict[str, QLabel] = {name: label("–", "caption") for name in LINES}
        self._lines: dict[str, QWidget] = {}
        self._trained = label("", "caption", "muted")
        for name, value in self._values.items():
            value.setFont(theme.font(Type.CAPTION, tabular=True))
            title = self._trained if name == "trained" else label(say(f"context.{name}"), "caption", "muted")
            title.setToolTip(say(f"context.{name}_means"))
            self._lines[name] = pane(row(title, None, value))
        self._warning = label("", "caption", "warn", wrap=True)
        explain = Button(say("context.explain"), "ghost", "info", small=True)
        explain.clicked.connect(self.explain_asked)
        self._known = pane(column(self.bar, *self._lines.values(), self._warning, row(explain, None), gap=Space.XS + 2))
        self._unknown = label("", "caption", "muted", wrap=True)
        title = label(say("context.title"), "strong")
        self.setLayout(column(title, self._known, self._unknown, gap=Space.XS + 2))
        self.show_unknown("")
        self.show_use(ContextUse())

    def show_unknown(self, why: str) -> None:
        """In place of the lengths, why there are none; "" shows them."""
        self._unknown.setText(why)
        self._unknown.setVisible(bool(why))
        self._known.setVisible(not why)

    def show_use(self, use: ContextUse) -> None:
        self.bar.show_use(use)
        past = use.is_past_trained
        values = {
            "used": figures.count(use.used) if use.limit and use.is_known else "–",
            "trained": figures.count(use.trained) if use.trained else "",
            "limit": figures.count(use.limit) if use.limit else "–",
            "dropped": figures.count(use.dropped) if use.dropped else "",
            "alpha": f"{use.alpha:g}" if past and use.ntk and use.alpha else "",
            "logn": say("context.on" if use.logn else "context.off") if past and (use.ntk or use.logn) else "",
        }
        self._trained.setText(say("context.trained_t0" if use.ntk else "context.trained"))
        for name, value in values.items():
            self._values[name].setText(value)
            self._lines[name].setVisible(bool(value))
        self._warning.setText(use.warning())
        self._warning.setVisible(past)
