"""Tokens as coloured boxes, as many as there are: only the lines in view are painted.

Invariant: colour is never alone: every token is a box of its own, control tokens have an outline, parts of characters
are written as bytes. Arrow keys reach every token.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleAnnouncementEvent,
    QFocusEvent,
    QFontMetricsF,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QScrollBar, QToolTip, QWidget

from app.ui import theme
from app.ui.tokenizer.flow import PAD, Flow, is_part, shown
from app.ui.tokens import Radius, Space, Type
from app.ui.widgets.painting import KEYBOARD, box, focus_ring
from core.protocol.messages import Token
from core.translation import say

SLICE_S = 0.002
EDGE = Space.M
BAR = 11
TINTS = (0, 1, 2, 3, 4)  # of the data colours
CONTROL, PART = -1, -2  # kinds of boxes that are no plain text
RADIUS = Radius.S
MOST_GROUNDS = 400
WHEEL_STEP_PX = 60

Place = tuple[int, int, int, int]  # line, index of the token, first cell, cells


def bytes_words(token: Token) -> str:
    """`E4 BD A0`, cut after some."""
    data = token.data[:24].hex(" ").upper()
    return f"{data} …" if len(token.data) > 24 else data


def token_words(token: Token) -> str:
    """The token in a line: its id, what it stands for, its bytes."""
    kind = say("tokenizer.kind_control") if token.is_control else say("tokenizer.kind_part") if is_part(token) else ""
    parts = (say("tokenizer.id", id=token.id), shown(token), bytes_words(token), kind)
    return " · ".join(part for part in parts if part)


class TokenView(QWidget):
    """
    Attributes:
        bar: its scroll bar

    Signals:
        chosen: the index of the token that is looked at; -1 for none
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName(say("tokenizer.tokens"))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self._flow = Flow((), 80)
        self._chosen = -1
        self._ring = False
        self.bar = QScrollBar(Qt.Orientation.Vertical, self)
        self.bar.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.bar.valueChanged.connect(self._on_scrolled)
        self._value = 0
        self._grounds: dict[tuple[int, int], QPixmap] = {}  # by kind and cells
        self._tops: dict[int, int] = {}  # where the lines in view are
        self._laying = QTimer(self)
        self._laying.setInterval(0)
        self._laying.timeout.connect(self._lay)
        theme.state.changed.connect(self._dress)
        self._dress()

    # --- content ---------------------------------------------------------------------

    @property
    def tokens(self) -> Sequence[Token]:
        return self._flow.tokens

    @property
    def is_whole(self) -> bool:
        """Whether every token has its place."""
        return self._flow.is_whole

    @property
    def index(self) -> int:
        return self._chosen

    def show_tokens(self, tokens: Sequence[Token]) -> None:
        """Other tokens; the place in the text is kept as far as there is one."""
        self._flow = Flow(tokens, self._columns())
        chosen = min(self._chosen, len(tokens) - 1)
        self._restart()
        self.choose(chosen, quiet=True)

    def choose(self, index: int, *, quiet: bool = False) -> None:
        """Look at one token; -1 at none. Not quiet, it is scrolled into view and told to assistive tools."""
        self._chosen = index if 0 <= index < len(self.tokens) else -1
        self.setAccessibleDescription(self.words_of(self._chosen) if self._chosen >= 0 else "")
        if not quiet and self._chosen >= 0:
            self._reveal()
            QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, self.accessibleDescription()))
        self.update()
        self.chosen.emit(self._chosen)

    # --- layout ----------------------------------------------------------------------

    def _dress(self) -> None:
        """Take the font of the theme in force."""
        self._font = theme.font(Type.CODE, code=True)
        self._cell = QFontMetricsF(self._font).horizontalAdvance("0")
        self._line = round(self._font.pixelSize() * 1.9)
        metrics = QFontMetricsF(self._font)
        self._grounds = {}
        self._baseline = round((self._line + metrics.ascent() - metrics.descent()) / 2)
        self._refit()

    def _columns(self) -> int:
        return int((self.width() - 2 * EDGE - BAR) / self._cell)

    def _refit(self) -> None:
        self._flow = self._flow.reflow(self._columns())
        self._restart()

    def _restart(self) -> None:
        self._flow.lay(SLICE_S)
        self._set_range()
        if not self._flow.is_whole:
            self._laying.start()
        self.update()

    def _lay(self) -> None:
        self._flow.lay(SLICE_S)
        self._set_range()
        if self._flow.is_whole:
            self._laying.stop()

    def _set_range(self) -> None:
        height = self._flow.lines * self._line + 2 * EDGE
        self.bar.setRange(0, max(0, height - self.height()))
        self.bar.setPageStep(self.height())
        self.bar.setSingleStep(self._line)
        self.bar.setVisible(self.bar.maximum() > 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        self.bar.setGeometry(self.width() - BAR, 0, BAR, self.height())
        if self._columns() != self._flow.columns:
            self._refit()
        self._set_range()

    def _on_scrolled(self, value: int) -> None:
        """What is still in view is moved; only what comes into view is painted."""
        step, self._value = self._value - value, value
        if abs(step) < self.height():
            self.scroll(0, step, QRect(0, 0, self.width() - BAR, self.height()))
        else:
            self.update()

    def _reveal(self) -> None:
        if self._chosen >= self._flow.laid:
            return
        top = EDGE + self._flow.line_of(self._chosen) * self._line
        value = self.bar.value()
        if top < value + EDGE:
            self.bar.setValue(top - EDGE)
        elif top + self._line > value + self.height() - EDGE:
            self.bar.setValue(top + self._line - self.height() + EDGE)

    # --- painting --------------------------------------------------------------------

    def _in_view(self, top: float, bottom: float) -> range:
        first = max(0, int((self.bar.value() + top - EDGE) // self._line))
        last = int((self.bar.value() + bottom - EDGE) // self._line)
        return range(first, min(last + 1, self._flow.lines))

    def paintEvent(self, event: QPaintEvent) -> None:
        """A few calls for each line: boxes of one colour together, and words that follow each other as one text."""
        c = theme.colors()
        painter = QPainter(self)
        painter.fillRect(event.rect(), theme.color(c.raised))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(self._font)
        lines = self._in_view(event.rect().top(), event.rect().bottom())
        self._tops = {line: EDGE + line * self._line - self.bar.value() for line in lines}
        places = [(line, *place) for line in lines for place in self._flow.places(line)]
        self._paint_boxes(painter, places)
        self._paint_words(painter, places)
        if lines and self._chosen in range(self._flow.starts[lines[0]], self._flow.line(lines[-1]).stop):
            self._paint_chosen(painter)
        if self._ring and self._chosen < 0:
            focus_ring(painter, QRectF(self.rect()), Radius.L)

    def _paint_boxes(self, painter: QPainter, places: Sequence[Place]) -> None:
        cell = self._cell
        for line, index, first, wide in places:
            kind = self.kind_of(index)
            ground = self._grounds.get((kind, wide)) or self._ground(kind, wide)
            painter.drawPixmap(round(EDGE + first * cell), self._tops[line], ground)

    def _ground(self, kind: int, wide: int) -> QPixmap:
        """The box behind a token, drawn once for each kind and width: drawing it anew costs five times as much."""
        ratio = self.devicePixelRatioF()
        width = round(wide * self._cell)
        result = QPixmap(round(width * ratio), round(self._line * ratio))
        result.setDevicePixelRatio(ratio)
        result.fill(Qt.GlobalColor.transparent)
        painter = QPainter(result)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.paint_ground(painter, QRectF(1, 2, width - 2, self._line - 4), kind)
        painter.end()
        if len(self._grounds) >= MOST_GROUNDS:
            self._grounds.clear()
        self._grounds[kind, wide] = result
        return result

    def kind_of(self, index: int) -> int:
        """What its box looks like."""
        token = self.tokens[index]
        return CONTROL if token.is_control else PART if is_part(token) else index % len(TINTS)

    def ink_of(self, index: int) -> str:
        """The colour its words have."""
        c, token = theme.colors(), self.tokens[index]
        return c.accent_text if token.is_control else c.text_soft if is_part(token) else c.text

    def words_of(self, index: int) -> str:
        """All there is to say of one token, in a line."""
        return token_words(self.tokens[index])

    def paint_ground(self, painter: QPainter, place: QRectF, kind: int) -> None:
        """The box of a kind."""
        c = theme.colors()
        if kind == CONTROL:
            box(painter, place, RADIUS, c.accent_soft, c.accent)
        elif kind == PART:
            painter.setPen(QPen(theme.color(c.control), 1, Qt.PenStyle.DashLine))
            painter.setBrush(theme.color(c.sunken))
            painter.drawRoundedRect(place.adjusted(0.5, 0.5, -0.5, -0.5), RADIUS, RADIUS)
        else:
            tint = c.series[TINTS[kind]]
            box(painter, place, RADIUS, theme.with_alpha(tint, 0.26 if theme.is_dark() else 0.15))

    def _paint_words(self, painter: QPainter, places: Sequence[Place]) -> None:
        """The padding between two boxes is as wide as a space, so words of plain letters can be joined by one."""
        waiting: list[str] = []
        start = (0, 0, "")  # line, first cell, ink of what waits

        def flush() -> None:
            if waiting:
                line, cell, ink = start
                painter.setPen(theme.color(ink))
                x = EDGE + (cell + PAD / 2) * self._cell
                painter.drawText(QPointF(x, self._tops[line] + self._baseline), " ".join(waiting))
                waiting.clear()

        tokens = self.tokens
        for line, index, first, wide in places:
            ink, words = self.ink_of(index), shown(tokens[index])
            plain = words.isascii() and len(words) + PAD == wide
            if waiting and (start[0] != line or start[2] != ink or not plain):
                flush()
            if not waiting:
                start = line, first, ink
            waiting.append(words)
            if not plain:
                flush()
        flush()

    def _paint_chosen(self, painter: QPainter) -> None:
        c = theme.colors()
        line = self._flow.line_of(self._chosen)
        for index, first, wide in self._flow.places(line):
            if index == self._chosen:
                x, width = round(EDGE + first * self._cell), round(wide * self._cell)
                place = QRectF(x + 1, self._tops[line] + 2, width - 2, self._line - 4)
                box(painter, place, RADIUS, None, c.focus if self._ring else c.text_soft, 2.0)

    # --- what the user does ------------------------------------------------------------

    def _at(self, place: QPoint) -> int:
        lines = self._in_view(place.y(), place.y())
        if not lines:
            return -1
        found = self._flow.at(lines[0], (place.x() - EDGE) / self._cell)
        return -1 if found is None else found

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._ring = False
        self.choose(self._at(event.position().toPoint()))

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            index = self._at(event.pos())
            QToolTip.showText(event.globalPos(), self.words_of(index) if index >= 0 else "", self)
            return True
        return super().event(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        pixels = event.pixelDelta().y() or round(event.angleDelta().y() / 120 * WHEEL_STEP_PX * 1.5)
        self.bar.setValue(self.bar.value() - pixels)
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        target = self._target(Qt.Key(event.key()))
        if target is None or not self.tokens:
            super().keyPressEvent(event)
        else:
            self._ring = True
            self.choose(max(0, min(target, self._flow.laid - 1)))

    def _target(self, key: Qt.Key) -> int | None:
        """The token a key leads to."""
        here = max(0, self._chosen)
        match key:
            case Qt.Key.Key_Left:
                return here - 1
            case Qt.Key.Key_Right:
                return here + (1 if self._chosen >= 0 else 0)
            case Qt.Key.Key_Home:
                return 0
            case Qt.Key.Key_End:
                return len(self.tokens) - 1
            case Qt.Key.Key_Up:
                return self._beside(here, -1)
            case Qt.Key.Key_Down:
                return self._beside(here, 1)
            case Qt.Key.Key_PageUp:
                return self._beside(here, -max(1, self.height() // self._line - 1))
            case Qt.Key.Key_PageDown:
                return self._beside(here, max(1, self.height() // self._line - 1))
            case _:
                return None

    def _beside(self, index: int, lines: int) -> int:
        """The token above or below, at about the same place of its line."""
        if not self.tokens:
            return -1
        here = self._flow.line_of(index)
        there = max(0, min(here + lines, self._flow.lines - 1))
        cell = next(first for place, first, _ in self._flow.places(here) if place == index)
        found = self._flow.at(there, cell)
        return found if found is not None else self._flow.line(there)[-1]

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._ring = event.reason() in KEYBOARD
        self.update()
        super().focusInEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._ring = False
        self.update()
        super().focusOutEvent(event)
