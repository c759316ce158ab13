"""One of a few ways, as a card: its name, what it means, what it takes. Invariant: the chosen one has a mark as well as
a colour, and one that is closed says why."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QSizePolicy

from app.ui import theme
from app.ui.tokens import Radius, Space
from app.ui.widgets.badge import Badge, Tone
from app.ui.widgets.button import Pressable
from app.ui.widgets.layout import column, label, row
from app.ui.widgets.painting import begin, box, dot, focus_ring

MARK = 18


class ChoiceCard(Pressable):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.setCheckable(True)
        self.setAutoExclusive(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._title = label(name, "heading")
        self.meaning = label("", "body", "soft", wrap=True)
        self.refusal = label("", "caption", "warn", wrap=True)
        self.numbers = label("", "caption", "muted")
        self.numbers.setFont(theme.font(tabular=True))
        self.badge = Badge("", "neutral", "dot")
        head = row(self._title, None, self.numbers, self.badge, gap=Space.M)
        body = self._body = column(head, self.meaning, self.refusal, gap=Space.XS)
        body.setContentsMargins(Space.XL + MARK, Space.M, Space.L, Space.M)
        self.setLayout(body)
        for part in (self._title, self.meaning, self.refusal, self.numbers, self.badge):
            part.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)

    def show_words(self, meaning: str, refusal: str) -> None:
        self.meaning.setText(meaning)
        self.refusal.setText(refusal)
        self.refusal.setVisible(bool(refusal))
        self.setAccessibleDescription(" ".join(part for part in (meaning, refusal) if part))

    def show_badge(self, words: str, tone: Tone, numbers: str) -> None:
        self.badge.setVisible(bool(words))
        self.badge.show_state(words, tone, "dot")
        self.numbers.setText(numbers)
        self.setToolTip(numbers)

    def sizeHint(self) -> QSize:
        return self._body.sizeHint()

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._body.heightForWidth(width)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        chosen = self.isChecked()
        box(painter, rect, Radius.L, c.raised if self.isEnabled() else c.sunken, c.accent if chosen else c.border,
            2.0 if chosen else 1.0)  # fmt: skip
        if veil := self.veil():
            box(painter, rect, Radius.L, veil)
        x, y = Space.L + MARK / 2, Space.M + 10
        mark = QRectF(Space.L, y - MARK / 2, MARK, MARK)
        box(painter, mark, MARK / 2, None, c.accent if chosen else c.control, 1.6)
        if chosen:
            dot(painter, x, y, 4.5, c.accent)
        if self.ring:
            focus_ring(painter, rect, Radius.L)
