"""The legend: the names of runs and lines, each a switch for what it names.

Invariant: what is switched off stays in the legend, so that it can come back.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Signal
from PySide6.QtGui import QFont, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui import theme
from app.ui.tokens import Radius, Size, Space, Type
from app.ui.widgets.button import Pressable
from app.ui.widgets.chart.card import SWATCH, paint_swatch
from app.ui.widgets.chart.lines import Line, runs_of
from app.ui.widgets.painting import begin, box, focus_ring, text, width_of

WIDEST = 260  # px of a name at the usual text size


class Entry(Pressable):
    """A run, or one line with a piece of its stroke."""

    def __init__(self, name: str, lines: Sequence[Line], parent: QWidget, *, is_run: bool = False) -> None:
        super().__init__(name, parent)
        self.lines, self.is_run = list(lines), is_run
        self.setToolTip(name)
        self.setCheckable(True)
        self.setChecked(any(line.is_shown for line in lines))

    def sizeHint(self) -> QSize:
        lead = 0 if self.is_run else SWATCH + 6
        words = min(WIDEST * theme.state.text_scale, width_of(self.accessibleName(), self._font()))
        return QSize(round(lead + words + 2 * Space.XS + 1), max(Size.HIT - 4, round(22 * theme.state.text_scale)))

    def _font(self) -> QFont:
        return theme.font(Type.CAPTION_STRONG if self.is_run else Type.CAPTION)

    def paintEvent(self, event: QPaintEvent) -> None:
        c, painter, rect = theme.colors(), begin(self), QRectF(self.rect())
        if veil := self.veil():
            box(painter, rect, Radius.S + 1, veil)
        x = float(Space.XS)
        if not self.is_run:
            painter.setOpacity(1.0 if self.isChecked() else 0.35)
            paint_swatch(painter, x, rect.height() / 2, self.lines[0])
            painter.setOpacity(1.0)
            x += SWATCH + 6
        tint = (c.text if self.is_run else c.text_soft) if self.isChecked() else c.text_muted
        room = QRectF(x, 0, rect.width() - x - Space.XS, rect.height())
        drawn = text(painter, room, self.accessibleName(), self._font(), tint)
        if not self.isChecked():
            painter.setPen(QPen(theme.color(c.text_muted), 1))
            painter.drawLine(round(x), round(rect.height() / 2), round(x + drawn), round(rect.height() / 2))
        if self.ring:
            focus_ring(painter, rect, Radius.S + 1)


class Legend(QWidget):
    """Entries in rows; hidden while one nameless line says nothing new."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_lines(self, lines: Sequence[Line]) -> None:
        for entry in self.entries:
            entry.hide()
            entry.deleteLater()
        self.entries = []
        runs = runs_of(lines)
        for run in runs:
            own = [line for line in lines if line.run == run]
            if len(runs) > 1 and run:
                self.entries.append(Entry(run, own, self, is_run=True))
            self.entries += [Entry(line.name, [line], self) for line in own]
        for entry in self.entries:
            entry.clicked.connect(self._switch)
            entry.show()
        self.arrange()

    def _switch(self) -> None:
        entry = self.sender()
        assert isinstance(entry, Entry)
        for line in entry.lines:
            line.is_shown = entry.isChecked()
        for other in self.entries:
            other.setChecked(any(line.is_shown for line in other.lines))
        self.changed.emit()

    def arrange(self) -> None:
        x, y, tall = 0, 0, 0
        for entry in self.entries:
            size = entry.sizeHint()
            if entry.is_run and x:
                x += Space.M
            if x and x + size.width() > self.width():
                x, y = 0, y + tall + Space.XXS
            entry.setGeometry(x, y, min(size.width(), max(60, self.width())), size.height())
            x, tall = x + size.width() + Space.S, size.height()
            entry.update()
        self.setFixedHeight(y + tall)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.arrange()
