"""From which hub a model shall come: a row each, which one is faster here, and the user's choice.

Invariant: without a choice the order is the catalogue's; what was measured puts the fastest first, and a click decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.services.discovery import Offer
from app.ui import theme
from app.ui.models.offer_words import place_words, shortened
from app.ui.tokens import Radius, Space, Type
from app.ui.widgets.badge import badge_height, badge_width, paint_badge
from app.ui.widgets.button import Button, Pressable
from app.ui.widgets.layout import column, label, row
from app.ui.widgets.painting import begin, box, dot, focus_ring, text
from core import figures
from core.sources import Place, Source
from core.translation import say

if TYPE_CHECKING:
    from core.hub.speed import Speed

ROW_PX = 30


class SourceRow(Pressable):
    """One hub, chosen or not.

    Signals:
        moved: an arrow key leads to the other one
    """

    moved = Signal()

    def __init__(self, source: Source) -> None:
        super().__init__("")
        self.setCheckable(True)
        self.show_source(source)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(round(ROW_PX * theme.state.text_scale))

    def show_source(self, source: Source) -> None:
        """Of another model; nothing is measured yet."""
        self.source = source
        self.setText(place_words(source.place))
        self.setAccessibleName(self.text())
        self.show_speed("", "", is_faster=False)

    def show_speed(self, fact: str, hint: str, *, is_faster: bool) -> None:
        self.fact, self.is_faster = fact, is_faster
        words = (fact, say("discover.faster_here") if is_faster else "")
        self.setAccessibleDescription(", ".join(word for word in words if word))
        self.setToolTip(hint)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(260, self.height())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            self.moved.emit()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        if veil := self.veil():
            box(painter, rect, Radius.M, veil)
        middle = rect.height() / 2
        ring = QRectF(Space.S, middle - 8, 16, 16)
        box(painter, ring, 8, None, c.accent if self.isChecked() else c.control, 1.5)
        if self.isChecked():
            dot(painter, ring.center().x(), middle, 4, c.accent)
        x = ring.right() + Space.S
        x += text(painter, QRectF(x, 0, 160, rect.height()), self.text(), theme.font(Type.BODY), c.text) + Space.S
        right = rect.right() - Space.S
        if self.is_faster:
            words = say("discover.faster_here")
            right -= badge_width(words, "")
            paint_badge(painter, right, (rect.height() - badge_height()) / 2, words, "accent")
            right -= Space.S
        room = QRectF(x, 0, max(0.0, right - x), rect.height())
        text(painter, room, self.fact, theme.font(Type.CAPTION, tabular=True), c.text_muted)
        if self.ring:
            focus_ring(painter, rect, Radius.M)


class OfferSource(QWidget):
    """
    Attributes:
        is_settled: the order was measured, or chosen by the user, or there is nothing to choose
    Signals:
        measure_asked: how fast the hubs are here
    """

    measure_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.is_settled = True
        self._offer_id = ""
        self.rows: list[SourceRow] = []
        self.measure = Button(say("discover.measure"), "ghost", "bolt", small=True)
        self.measure.clicked.connect(self.measure_asked)
        self._lines = column(gap=0)
        self._package = label(say("discover.from_package"), "caption", "muted", wrap=True)
        head = row(label(say("discover.source"), "strong"), None, self.measure)
        self.setLayout(column(head, self._lines, self._package, gap=Space.XXS))

    def show_offer(self, offer: Offer) -> None:
        """Another model: nothing is measured yet."""
        known = [line.source for line in self.rows]
        if offer.id == self._offer_id and list(offer.sources) == known:
            return
        self._offer_id = offer.id
        if len(self.rows) != len(offer.sources):
            self._rebuild(offer)
        for line, source in zip(self.rows, offer.sources, strict=True):
            line.show_source(source)
        if self.rows:
            self._choose(self.rows[0])
        self.is_settled = len(self.rows) < 2
        self._package.setVisible(not self.rows)
        self.measure.setVisible(bool(self.rows))
        self.show_measuring(False)

    def _rebuild(self, offer: Offer) -> None:
        while item := self._lines.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        self.rows = [SourceRow(source) for source in offer.sources]
        for line in self.rows:
            line.clicked.connect(lambda _=False, line=line: self._take(line))
            line.moved.connect(lambda line=line: self._move(line))
            self._lines.addWidget(line)

    def _take(self, line: SourceRow) -> None:
        """The user's own choice."""
        self._choose(line)
        self.is_settled = True

    def show_measuring(self, measuring: bool) -> None:
        self.measure.setEnabled(not measuring)
        for line in self.rows:
            if measuring:
                line.show_speed(say("discover.measuring"), "", is_faster=False)

    def show_speeds(self, speeds: Sequence[Speed]) -> None:
        """What was measured; the fastest is chosen."""
        self.show_measuring(False)
        self.is_settled = True
        by_place: dict[Place, Speed] = {speed.source.place: speed for speed in speeds}
        rates = [speed.bytes_per_s for speed in speeds]
        for line in self.rows:
            speed = by_place.get(line.source.place)
            if speed is None:
                line.show_speed(say("discover.no_answer"), "", is_faster=False)
            elif speed.error is not None or not speed.bytes_per_s:
                error = speed.error
                words = shortened(error) if error is not None else say("discover.no_answer")
                line.show_speed(words, str(error) if error is not None else "", is_faster=False)
            else:
                fastest = len(rates) > 1 and speed.bytes_per_s == max(rates)
                line.show_speed(figures.speed(speed.bytes_per_s), "", is_faster=fastest)
        best = next((line for line in self.rows if line.is_faster), None)
        if best is not None:
            self._choose(best)

    def ordered(self) -> tuple[Source, ...]:
        """The chosen one first; the others are asked where it fails."""
        first = sorted(self.rows, key=lambda line: not line.isChecked())
        return tuple(line.source for line in first)

    def _choose(self, chosen: SourceRow) -> None:
        for line in self.rows:
            line.setChecked(line is chosen)
            line.update()

    def _move(self, line: SourceRow) -> None:
        other = next((one for one in self.rows if one is not line), None)
        if other is not None:
            self._take(other)
            other.setFocus(Qt.FocusReason.TabFocusReason)
