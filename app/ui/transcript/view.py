"""The transcript: one branch of a conversation, of which only the messages near the viewport are widgets.

Invariant: what the user looks at stays where it is. A height that turns out otherwise than estimated moves what is
above, and a growing reply is followed only while the user is at the bottom.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from PySide6.QtCore import QEvent, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QPaintEvent, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import QScrollBar, QWidget

from app.ui import theme
from app.ui.tokens import Size, Space
from app.ui.transcript.heights import Heights, estimate
from app.ui.transcript.rows import ReplyRow, Row, UserRow
from app.ui.widgets.button import IconButton
from app.ui.widgets.focus import holds_focus
from app.ui.widgets.painting import begin, box
from core.store.records import Message
from core.translation import say

FRAME_MS = 33
"""Shortest time between two drawings of a growing reply."""
SLOWEST_MS = 120
SHARE = 16
"""A drawing is followed by at least this many times its own cost, so it takes a small part of one core."""
MARGIN_ROWS_PX = 600
"""How far outside the viewport rows are kept as widgets."""
NEAR_BOTTOM_PX = 40
WHEEL_STEP_PX = 60


class TranscriptView(QWidget):
    """Signals:

    asked: an action and the message it is for: "copy", "regenerate", "continue", "branch", "previous", "next",
    "load".
    edited: a user's message and its new text.
    """

    asked = Signal(str, int)
    edited = Signal(int, str)

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName(say("transcript.transcript"))
        self._messages: list[Message] = []
        self._places: dict[int, int] = {}
        self._heights = Heights([])
        self._rows: dict[int, Row] = {}  # by message id
        self._growing: set[int] = set()
        self._stuck = True
        self._arranging = False
        self._measured_for = 0  # the width the heights belong to
        self._canvas = _Canvas(self)
        self._bar = QScrollBar(Qt.Orientation.Vertical, self)
        self._bar.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._bar.valueChanged.connect(self._on_scrolled)
        self._latest = _Latest(self)
        self._latest.clicked.connect(self.go_to_end)
        self._latest.hide()
        self._frame = self._timer(self._draw)
        self._around = self._timer(self._fill_around)
        self._settling = self._timer(self._arrange)
        self._interval_ms = FRAME_MS
        theme.state.changed.connect(self._on_theme)

    def _timer(self, do: object) -> QTimer:
        result = QTimer(self)
        result.setSingleShot(True)
        result.setTimerType(Qt.TimerType.PreciseTimer)
        result.timeout.connect(do)
        return result

    # content

    def show_branch(self, messages: Sequence[Message]) -> None:
        """Show these messages. Rows that are the same stay; the place is kept if its message is still there."""
        anchor = self._anchor() if self._messages else (0, 0)
        kept = {message.id: row for message in messages if (row := self._rows.get(message.id)) and _fits(row, message)}
        focused = self._focused()
        if focused is not None and self._messages[focused].id not in kept:
            self.setFocus()  # before the row goes: Qt would give it to whatever comes next in the window
        for number, row in self._rows.items():
            if number not in kept:
                _discard(row)
        known = {message.id: self._heights[place] for place, message in enumerate(self._messages)} if kept else {}
        self._rows = kept
        self._messages = list(messages)
        self._places = {message.id: place for place, message in enumerate(self._messages)}
        self._growing &= set(kept)
        scale = theme.state.text_scale
        width = self._measured_for = self._column()
        self._heights = Heights([known[m.id] if m.id in kept else estimate(m, width, scale) for m in self._messages])
        for number, row in kept.items():
            row.show_message(self._messages[self._places[number]])
        self._stuck = self._stuck or anchor[0] not in self._places
        for place, message in enumerate(self._messages):
            if message.state == "streaming":
                self._row(place)  # wherever it is: what comes for it has to be kept
        if self.isVisible() or self.width() > 100:
            self._arrange(anchor)
        self._mark_last()
        if focused is not None and self.hasFocus() and self._messages:
            self._row(min(focused, len(self._messages) - 1)).setFocus()

    def begin_reply(self, message: Message) -> None:
        """A reply starts to stream: a new message at the end, or one that is continued."""
        anchor = self._anchor() if self._messages else None
        self._put(message)
        self._row(self._places[message.id])
        self._mark_last()
        self._arrange(anchor)

    def grow(self, message_id: int, text: str = "", thinking: str = "") -> None:
        """More of a streaming reply. Costs nothing here: it is drawn with the next frame."""
        row = self._rows.get(message_id)
        if not isinstance(row, ReplyRow) or not row.is_streaming:
            return
        row.grow(text, thinking)
        self._growing.add(message_id)
        if not self._frame.isActive():
            self._frame.start(self._interval_ms)

    def wait_with(self, message_id: int, words: str) -> None:
        """Why a reply has not begun yet: "Loading model… 45 %"."""
        row = self._rows.get(message_id)
        if isinstance(row, ReplyRow):
            row.wait_with(words)

    def end_reply(self, message: Message) -> None:
        """A reply is over, in its final state."""
        self._growing.discard(message.id)
        self._put(message)

    def update_message(self, message: Message) -> None:
        """A message changed otherwise: its number of versions, its state."""
        self._put(message)

    def message_ids(self) -> list[int]:
        return [message.id for message in self._messages]

    def row(self, message_id: int) -> Row | None:
        """The widget of a message, if it is near the viewport."""
        return self._rows.get(message_id)

    def edit(self, message_id: int) -> None:
        """Open the text box in place of a user's message."""
        self.jump_to(message_id)
        row = self._rows.get(message_id)
        if isinstance(row, UserRow):
            row.edit()

    # places

    def jump_to(self, message_id: int) -> None:
        """Bring a message into view, focused."""
        place = self._places.get(message_id)
        if place is None:
            return
        self._stuck = False
        row = self._row(place)
        self._arrange((message_id, -Space.M))
        row.setFocus(Qt.FocusReason.OtherFocusReason)

    def go_to_end(self) -> None:
        self._stuck = True
        self._arrange()

    @property
    def is_at_end(self) -> bool:
        return self._stuck

    @property
    def is_settled(self) -> bool:
        """Whether everything that is in view has been drawn as it stays."""
        rows = [row for row in self._rows.values() if isinstance(row, ReplyRow)]
        timers = (self._frame, self._around, self._settling)
        return not any(row.body.is_filling for row in rows) and not any(timer.isActive() for timer in timers)

    def first_in_view(self) -> tuple[int, int]:
        """The message at the top edge and how many px of it are above; (0, 0) when empty."""
        if not self._messages:
            return 0, 0
        place = self._heights.at(self._edge())
        return self._messages[place].id, self._edge() - self._heights.top(place)

    def _focused(self) -> int | None:
        """The place of the row that holds the focus."""
        return next((self._places[number] for number, row in self._rows.items() if holds_focus(row)), None)

    # rows

    def _put(self, message: Message) -> None:
        place = self._places.get(message.id)
        if place is None:
            self._places[message.id] = len(self._messages)
            self._messages.append(message)
            self._heights.append(estimate(message, self._column(), theme.state.text_scale))
        else:
            self._messages[place] = message
        row = self._rows.get(message.id)
        if row is not None:
            row.show_message(message)
        else:
            self._settling.start(0)

    def _row(self, place: int) -> Row:
        """The widget of a row, made if need be, laid out."""
        message = self._messages[place]
        row = self._rows.get(message.id)
        if row is None:
            row = UserRow(message) if message.role == "user" else ReplyRow(message)
            self._rows[message.id] = row
            row.setParent(self._canvas)
            row.asked.connect(lambda action, number=message.id: self.asked.emit(action, number))
            row.moved.connect(lambda step, number=message.id: self._move_focus(number, step))
            row.grew.connect(lambda number=message.id: self._on_grew(number))
            if isinstance(row, UserRow):
                row.edited.connect(lambda words, number=message.id: self.edited.emit(number, words))
            self._measure(place, row)
            row.show()
        return row

    def _measure(self, place: int, row: Row) -> int:
        """Lay a row out; returns by how much its height differs from what was thought."""
        width = self._column()
        height = row.fit(width)
        row.resize(width, height)
        return self._heights.change(place, height)

    def _on_grew(self, number: int) -> None:
        """A row changed its height by itself."""
        row, place = self._rows.get(number), self._places.get(number)
        if row is None or place is None:
            return
        anchor = self._anchor()
        if not self._measure(place, row):
            return
        if place == len(self._messages) - 1 and self._heights.top(place + 1) > self._edge():
            self._resize_canvas()
            self._follow()
        else:
            self._arrange(anchor)

    def _follow(self) -> None:
        """The cheap case, taken by a streaming reply: the last row grew, nothing else moves against the canvas."""
        if self._stuck:
            self._set_value(self._bar.maximum())
            self._canvas.move(0, -self._bar.value())
        self._latest.setVisible(not self._stuck)

    def _draw(self) -> None:
        """One frame: draw what has come, then leave the rest of the time to others."""
        start = time.perf_counter()
        for number in list(self._growing):
            row = self._rows.get(number)
            if isinstance(row, ReplyRow):
                row.flush()
        self._growing.clear()
        spent_ms = (time.perf_counter() - start) * 1000
        self._interval_ms = round(min(SLOWEST_MS, max(FRAME_MS, spent_ms * SHARE)))

    # arrangement

    def _column(self) -> int:
        """Width of a row."""
        return max(200, min(Size.READING, self.width() - 2 * Space.XL))

    def _resize_canvas(self) -> None:
        height = Space.S + self._heights.total + Space.S
        self._canvas.resize(self.width(), max(height, self.height()))
        quiet = self._bar.blockSignals(True)
        self._bar.setRange(0, max(0, height - self.height()))
        self._bar.setPageStep(self.height())
        self._bar.setSingleStep(WHEEL_STEP_PX)
        self._bar.blockSignals(quiet)
        self._bar.setVisible(self._bar.maximum() > 0)

    def _set_value(self, value: int) -> None:
        """Move the bar without being told of it."""
        quiet = self._bar.blockSignals(True)
        self._bar.setValue(value)
        self._bar.blockSignals(quiet)

    def _edge(self) -> int:
        """What is at the top edge of the window, counted from the top of the first row."""
        return self._bar.value() - Space.S

    def _arrange(self, anchor: tuple[int, int] | None = None) -> None:
        """Make the rows in view, put everything in its place. `anchor`: what must not move, see `_anchor`."""
        if self._arranging or not self._messages:
            self._resize_canvas()
            return
        self._arranging = True
        try:
            self._make_visible(anchor or self._anchor())
            self._put_rows()
        finally:
            self._arranging = False
        self._latest.setVisible(not self._stuck)
        self._around.start(0)

    def _make_visible(self, anchor: tuple[int, int]) -> None:
        """Rows in view become widgets. Their true heights may bring others into view, so look again until none does."""
        while True:
            self._resize_canvas()
            if self._stuck:
                self._set_value(self._bar.maximum())
            else:
                self._set_value(self._heights.top(self._places[anchor[0]]) + anchor[1] + Space.S)
            first, last = self._visible()
            missing = [place for place in range(first, last + 1) if self._messages[place].id not in self._rows]
            if not missing:
                return
            for place in missing:
                self._row(place)

    def _visible(self) -> tuple[int, int]:
        return self._heights.at(self._edge()), self._heights.at(self._edge() + self.height())

    def _put_rows(self) -> None:
        left = (self.width() - self._column()) // 2
        for number, row in self._rows.items():
            row.move(left, Space.S + self._heights.top(self._places[number]))
        self._canvas.move(0, -self._bar.value())

    def _fill_around(self) -> None:
        """One row outside the view at a time becomes a widget, so that scrolling finds it made; far ones go."""
        if not self._messages:
            return
        top = self._edge()
        first, last = self._heights.at(top - MARGIN_ROWS_PX), self._heights.at(top + self.height() + MARGIN_ROWS_PX)
        for number in [n for n, row in self._rows.items() if not self._is_near(n, row, first, last)]:
            _discard(self._rows.pop(number))
        seen_first, seen_last = self._visible()
        wanted = [*range(seen_last + 1, last + 1), *range(seen_first - 1, first - 1, -1)]
        missing = next((place for place in wanted if self._messages[place].id not in self._rows), None)
        if missing is not None:
            anchor = self._anchor()
            self._row(missing)
            self._arrange(anchor)
        else:
            self._chain_tabs()

    def _is_near(self, number: int, row: Row, first: int, last: int) -> bool:
        if (isinstance(row, ReplyRow) and row.is_streaming) or (isinstance(row, UserRow) and row.is_editing):
            return True
        return holds_focus(row) or first - 1 <= self._places[number] <= last + 1

    def _chain_tabs(self) -> None:
        """Tab goes through the messages in their order, however they were made."""
        ordered = [self._rows[number] for number in sorted(self._rows, key=lambda n: self._places[n])]
        chain: list[QWidget] = []
        for row in ordered:
            chain += [row, *(w for w in row.findChildren(QWidget) if w.focusPolicy() & Qt.FocusPolicy.TabFocus)]
        for before, after in pairwise(chain):
            if before.nextInFocusChain() is not after:
                QWidget.setTabOrder(before, after)

    def _anchor(self) -> tuple[int, int]:
        """What must not move on screen: a message, and how far its top is above the edge (below: negative).

        The first one in view whose height is certain, so that the true heights of those above it move only what is
        out of sight; where there is none, whatever is at the edge.
        """
        first, last = self._visible()
        for place in range(first, last + 1):
            row = self._rows.get(self._messages[place].id)
            if row is not None and not row.is_filling:
                return self._messages[place].id, self._edge() - self._heights.top(place)
        return self.first_in_view()

    def _mark_last(self) -> None:
        """The last reply shows its actions without being hovered."""
        last = self._messages[-1].id if self._messages else 0
        for number, row in self._rows.items():
            row.pin_actions(number == last and isinstance(row, ReplyRow))

    def _move_focus(self, number: int, step: int) -> None:
        if number not in self._places:
            return
        target = self._places[number] + step if abs(step) == 1 else (0 if step < 0 else len(self._messages) - 1)
        if 0 <= target < len(self._messages):
            self.jump_into_view(target)

    def jump_into_view(self, place: int) -> None:
        """Scroll as little as shows the row, and focus it."""
        anchor = self._anchor()
        row = self._row(place)
        self._arrange(anchor)
        top, bottom = self._heights.top(place) + Space.S, self._heights.top(place + 1) + Space.S
        value = self._bar.value()
        if top < value or bottom - top > self.height():
            self.scroll_to(top)
        elif bottom > value + self.height():
            self.scroll_to(bottom - self.height())
        row.setFocus(Qt.FocusReason.OtherFocusReason)

    def scroll_to(self, y: int) -> None:
        """As if the user had scrolled there."""
        self._bar.setValue(y)

    # what the user and Qt do

    def _on_scrolled(self, value: int) -> None:
        self._stuck = value >= self._bar.maximum() - NEAR_BOTTOM_PX
        first, last = self._visible()
        if all(self._messages[place].id in self._rows for place in range(first, last + 1) if self._messages):
            self._canvas.move(0, -value)
            self._latest.setVisible(not self._stuck)
            self._around.start(30)
        else:
            self._arrange()

    def wheelEvent(self, event: QWheelEvent) -> None:
        pixels = event.pixelDelta().y() or round(event.angleDelta().y() / 120 * WHEEL_STEP_PX * 1.5)
        if pixels:
            self._bar.setValue(self._bar.value() - pixels)
            event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        page = self.height() - 2 * Size.CONTROL_L
        steps = {Qt.Key.Key_PageUp: -page, Qt.Key.Key_PageDown: page}
        step = steps.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
        else:
            self._bar.setValue(self._bar.value() + step)

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._bar.setGeometry(self.width() - 11, 0, 11, self.height())
        self._latest.move((self.width() - self._latest.width()) // 2, self.height() - self._latest.height() - Space.M)
        if self._column() != self._measured_for:
            self._measure_all()
        self._arrange()

    def _measure_all(self) -> None:
        """The width changed: estimate anew what is not a widget, lay out what is; the same words stay at the edge."""
        number, above = self.first_in_view()
        share = above / max(1, self._heights[self._places[number]]) if self._messages else 0.0
        width, scale = self._column(), theme.state.text_scale
        self._measured_for = width
        self._heights = Heights([estimate(message, width, scale) for message in self._messages])
        for known, row in self._rows.items():
            self._measure(self._places[known], row)
        if self._messages and not self._stuck:
            place = self._places[number]
            self._resize_canvas()
            self._set_value(self._heights.top(place) + round(share * self._heights[place]) + Space.S)

    def _on_theme(self) -> None:
        self._measure_all()
        self._canvas.update()
        self._settling.start(0)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.EnabledChange:
            self._canvas.update()


class _Canvas(QWidget):
    """Carries the rows. Opaque, so that Qt can move its pixels when it is scrolled."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    def paintEvent(self, event: QPaintEvent) -> None:
        begin(self).fillRect(event.rect(), theme.color(theme.colors().surface))


class _Latest(IconButton):
    """The way back to the end of the conversation."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__("down", say("transcript.latest"), size=Size.CONTROL)
        self.setParent(parent)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        box(begin(self), QRectF(self.rect()), self.height() / 2, c.raised, c.border_strong)
        super().paintEvent(event)


def _fits(row: Row, message: Message) -> bool:
    """Whether a row can go on showing a message: the same words, or those it is streaming."""
    if isinstance(row, ReplyRow) and row.is_streaming:
        return True
    return row.message == replace(message, sibling=row.message.sibling, siblings=row.message.siblings)


def _discard(row: Row) -> None:
    row.hide()
    row.deleteLater()
