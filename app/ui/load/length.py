"""How long the context shall be: a slider that doubles from place to place, and the number itself.

Invariant: both always say the same. Every length between the least and the model's limit can be typed; the slider
stops at round ones.
"""

from __future__ import annotations

import math

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QPaintEvent, QPen
from PySide6.QtWidgets import QSpinBox, QWidget

from app.ui import theme
from app.ui.tokens import Space, Type
from app.ui.widgets.layout import column, label, row
from app.ui.widgets.painting import begin, text, width_of
from app.ui.widgets.slider import KNOB, Slider
from core import figures
from core.translation import say

LEAST = 512
STEPS = 8  # places of the slider for each doubling
ROUND = 256


class LengthSlider(Slider):
    """Places on a scale of doublings, with a mark where the trained length is."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._mark, self._words = 0.0, ""
        self._show_height()

    def show_mark(self, share: float, words: str) -> None:
        """`share` of the way along; 0 shows none."""
        self._mark, self._words = share, words
        self._show_height()
        self.update()

    def _show_height(self) -> None:
        self.setFixedHeight(22 + (round(16 * theme.state.text_scale) if self._words else 0))

    def paintEvent(self, event: QPaintEvent) -> None:
        tall, self_tall = 22, self.height()
        c = theme.colors()
        if self._words:
            painter = begin(self)
            x = KNOB + self._mark * (self.width() - 2 * KNOB)
            painter.setPen(QPen(theme.color(c.text_soft), 1.5))
            painter.drawLine(round(x), 3, round(x), tall - 1)
            font = theme.font(Type.CAPTION, tabular=True)
            room = width_of(self._words, font)
            left = max(0.0, min(x - room / 2, self.width() - room))
            text(painter, QRectF(left, tall - 2, room + 1, self_tall - tall + 2), self._words, font, c.text_muted)
            painter.end()
        self.paint_rail(tall)


class LengthField(QWidget):
    """
    Signals:
        changed: tokens; 0 when it is the model's own length
    """

    changed = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        name = say("load.context")
        self._own, self._low, self._high = 0, LEAST, LEAST
        self.slider = LengthSlider(name)
        self.spin = QSpinBox()
        self.spin.setAccessibleName(name)
        self.spin.setGroupSeparatorShown(True)
        self.spin.setSingleStep(ROUND)
        self.spin.setKeyboardTracking(False)
        self.spin.setFont(theme.font(tabular=True))
        self.spin.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.spin.lineEdit().setTextMargins(Space.XS, 0, Space.S, 0)
        self.spin.setFixedWidth(round(104 * theme.state.text_scale))
        self.spin.setCorrectionMode(QSpinBox.CorrectionMode.CorrectToNearestValue)
        title = label(name, "strong")
        title.setBuddy(self.spin)
        self.range = label("", "caption", "muted")
        head = row(title, None, self.range, self.spin, gap=Space.M)
        self.setLayout(column(head, self.slider, gap=Space.XXS))
        self.slider.valueChanged.connect(lambda place: self.spin.setValue(self._length(place)))
        self.spin.valueChanged.connect(self._settle)

    def show_range(self, own: int, trained: int, longest: int, chosen: int) -> None:
        """own: where nothing is asked for; trained is marked; chosen 0 is the own one."""
        self._own, self._high = own, max(longest, own, 1)
        self._low = min(LEAST, self._high)
        quiet = self.slider.blockSignals(True), self.spin.blockSignals(True)
        self.slider.setRange(0, max(1, math.ceil(STEPS * math.log2(self._high / self._low))))
        self.spin.setRange(self._low, self._high)
        least, most = figures.count(self._low), figures.count(self._high)
        self.range.setText(say("load.context_range", least=least, most=most) if least != most else "")
        self.spin.setValue(chosen or own)
        self.slider.blockSignals(quiet[0])
        self.spin.blockSignals(quiet[1])
        marked = self._low < trained <= self._high
        words = say("load.trained_mark", count=figures.count(trained)) if marked else ""
        self.slider.show_mark(self._share(trained) if marked else 0.0, words)
        self._settle(self.spin.value(), quiet=True)

    def show_length(self, chosen: int) -> None:
        """Without telling; 0 is the model's own."""
        quiet = self.spin.blockSignals(True)
        self.spin.setValue(chosen or self._own)
        self.spin.blockSignals(quiet)
        self._settle(self.spin.value(), quiet=True)

    @property
    def length(self) -> int:
        value = self.spin.value()
        return 0 if value == self._own else value

    def _share(self, length: int) -> float:
        span = math.log2(self._high / self._low)
        return math.log2(max(length, self._low) / self._low) / span if span else 1.0

    def _length(self, place: int) -> int:
        if place >= self.slider.maximum():
            return self._high
        length = self._low * 2 ** (place / STEPS)
        return min(self._high, max(self._low, round(length / ROUND) * ROUND))

    def _settle(self, value: int, *, quiet: bool = False) -> None:
        blocked = self.slider.blockSignals(True)
        self.slider.setValue(round(self._share(value) * self.slider.maximum()))
        self.slider.blockSignals(blocked)
        self.slider.update()
        if not quiet:
            self.changed.emit(self.length)
