"""The rows of the queue of downloads: what stands in each, where it stands, and how it is painted.

Invariant: progress changes words and bars and never a height; a row is as tall as its error and its open list of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QRectF, Qt
from PySide6.QtGui import QFontMetricsF, QPainter

from app.services.downloads import Item
from app.services.questions import of_error
from app.ui import icons, theme
from app.ui.models.download_words import amount_words, error_words, of_words, share, source_words, state_words
from app.ui.tokens import Radius, Size, Space, Type
from app.ui.widgets.badge import Tone, tone_colors
from app.ui.widgets.painting import box, text, width_of
from core import figures
from core.protocol.messages import FileProgress
from core.store.records import Download, DownloadState
from core.translation import say

Action = Literal["fold", "earlier", "later", "pause", "resume", "retry", "cancel", "chat", "why"]
ICONS: dict[Action, str] = {
    "earlier": "up", "later": "down", "pause": "pause", "resume": "play", "retry": "refresh", "cancel": "close",
    "chat": "chat",
}  # fmt: skip
TONES: dict[DownloadState, Tone] = {"failed": "bad", "done": "ok"}
MOST_FILES = 100  # lines of an open row
WRAPPED = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop | Qt.TextFlag.TextWordWrap
Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, slots=True)
class Row:
    """One download as it stands in the list."""

    id: int
    name: str
    source: str
    state: DownloadState
    words: str
    amount: str
    share: float | None
    error: str
    question: str
    files: tuple[FileProgress, ...]
    can_fold: bool
    is_open: bool
    actions: tuple[Action, ...]
    is_gone: bool = False  # it was here, and was removed


class Rows(QAbstractListModel):
    """
    Attributes:
        rows: in the order of the queue
        open_: ids of those whose files are shown
        gone: ids of those that are done and not in the library any more
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.open_: set[int] = set()
        self.gone: set[int] = set()
        self._seen: list[tuple[Download, bool, bool]] = []

    def show_items(self, items: Sequence[Item]) -> bool:
        """Whether heights or the number of rows changed. A row of which nothing was told is not looked at again."""
        seen = [(item.record, item.id in self.open_, item.id in self.gone) for item in items]
        alive = [item.transfer is not None or item.again_at is not None for item in items]
        if [row.id for row in self.rows] != [item.id for item in items]:
            self.beginResetModel()
            self.rows = [self._row(item, place, items) for place, item in enumerate(items)]
            self._seen = seen
            self.endResetModel()
            return True
        is_taller = False
        for place, item in enumerate(items):
            if not alive[place] and self._seen[place] == seen[place]:
                continue
            old, new = self.rows[place], self._row(item, place, items)
            if old != new:
                self.rows[place] = new
                is_taller |= _tall(old) != _tall(new)
                self.dataChanged.emit(self.index(place, 0), self.index(place, 0))
        self._seen = seen
        return is_taller

    def fold(self, place: int) -> None:
        """Open a row or close it; seen at the next `show_items`."""
        self.open_ ^= {self.rows[place].id}

    def place_of(self, download_id: int) -> int | None:
        return next((place for place, row in enumerate(self.rows) if row.id == download_id), None)

    def _row(self, item: Item, place: int, items: Sequence[Item]) -> Row:
        error = item.error()
        files = tuple(item.transfer.files.values()) if item.transfer is not None else ()
        is_open, is_gone = item.id in self.open_ and bool(files), item.state == "done" and item.id in self.gone
        words = say("downloads.removed") if is_gone else state_words(item)
        return Row(
            item.id, item.record.name, source_words(item), item.state, words, amount_words(item),
            share(item), error_words(item), of_error(error.code) if error is not None else "",
            files[:MOST_FILES] if is_open else (), bool(files), is_open,
            () if is_gone else actions(item, place, items), is_gone,
        )  # fmt: skip

    # what Qt asks

    def rowCount(self, parent: Index = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return row.name
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return ", ".join(part for part in (row.name, row.words, row.amount, row.source, row.error) if part)
        return None


def _tall(row: Row) -> tuple[object, ...]:
    """What its height comes from."""
    return row.error, len(row.files), row.state == "done"


def actions(item: Item, place: int, items: Sequence[Item]) -> tuple[Action, ...]:
    """What can be done with it, in the order of its buttons."""
    if item.state == "done":
        return ("chat",)
    open_ = [one.id for one in items if one.state not in ("done", "cancelled")]
    found: list[Action] = []
    if item.id in open_[1:]:
        found.append("earlier")
    if item.id in open_[:-1]:
        found.append("later")
    match item.state:
        case "failed":
            found.append("retry")
        case "paused":
            found.append("resume")
        case "waiting" if item.again_at is not None:
            found += ["retry", "pause"]
        case _:
            found.append("pause")
    return (*found, "cancel")


# --- where everything stands ----------------------------------------------------------------


def scaled(px: float) -> float:
    return px * theme.state.text_scale


def row_height(row: Row, width: int) -> int:
    tall = Space.M + scaled(20) + bar_room(row) + scaled(18) + Space.M
    if row.error:
        tall += error_height(row, width) + Space.XS
    if row.files:
        tall += scaled(20) * len(row.files) + Space.S
    return round(tall)


def bar_room(row: Row) -> int:
    """With the room around it; one that is here needs none."""
    return 2 if row.state == "done" else 17


def error_width(row: Row, width: int) -> float:
    why = width_of(say("help.why"), theme.font(Type.CAPTION_STRONG)) + Space.XL if row.question else 0
    return inner(QRectF(0, 0, width, 10)).width() - why


def error_height(row: Row, width: int) -> float:
    room = QRectF(0, 0, error_width(row, width), 10_000)
    return QFontMetricsF(theme.font(Type.CAPTION)).boundingRect(room, int(WRAPPED), row.error).height() + 2


def inner(rect: QRectF) -> QRectF:
    """Where words and the bar stand: between the fold and the buttons."""
    buttons = 5 * Size.HIT + Space.S
    return rect.adjusted(Space.L + Size.ICON_S + Space.S, Space.M, -buttons - Space.M, -Space.M)


def zones(row: Row, rect: QRectF) -> list[tuple[Action, QRectF]]:
    """What can be clicked. The buttons stand at the right, each always in the same place."""
    head = scaled(20) + bar_room(row) + scaled(18)
    top = rect.top() + Space.M + (head - Size.HIT) / 2
    found: list[tuple[Action, QRectF]] = []
    right = rect.right() - Space.M
    for action in reversed(row.actions):
        right -= Size.HIT
        found.append((action, QRectF(right, top, Size.HIT, Size.HIT)))
    if row.can_fold:
        place = QRectF(rect.left() + Space.L - 6, rect.top() + Space.M - 4 + (scaled(20) - 20) / 2, Size.HIT, Size.HIT)
        found.append(("fold", place))
    if row.question and row.error:
        why = width_of(say("help.why"), theme.font(Type.CAPTION_STRONG)) + Space.L
        body = inner(rect)
        found.append(("why", QRectF(body.right() - why, rect.top() + Space.M + head + 2, why, scaled(22))))
    return found


# --- painting --------------------------------------------------------------------------------


def paint_row(painter: QPainter, rect: QRectF, row: Row, *, hovered: Action | None, is_near: bool) -> None:
    """`is_near`: the pointer or the keyboard is on the row, so moving it is offered too."""
    c = theme.colors()
    body = inner(rect)
    caption, numbers = theme.font(Type.CAPTION), theme.font(Type.CAPTION, tabular=True)
    line = scaled(20)
    right = width_of(row.amount, numbers)
    text(painter, QRectF(body.right() - right, body.top(), right + 1, line), row.amount, numbers, c.text_soft)
    room = body.width() - right - Space.L
    strong = theme.font(Type.BODY_STRONG)
    used = text(painter, QRectF(body.left(), body.top(), room, line), row.name, strong, c.text)
    rest = QRectF(body.left() + used + Space.S, body.top(), max(0.0, room - used - Space.S), line)
    if rest.width() > 40:
        text(painter, rest, row.source, caption, c.text_muted)
    if row.state != "done":
        _bar(painter, QRectF(body.left(), body.top() + line + 6, body.width(), 5), row)
    tint = tone_colors(TONES[row.state])[0] if row.state in TONES and not row.is_gone else c.text_soft
    words = QRectF(body.left(), body.top() + line + bar_room(row), body.width(), scaled(18))
    text(painter, words, row.words, theme.font(Type.CAPTION, tabular=True), tint)
    top = words.bottom() + 2
    if row.error:
        tall = error_height(row, round(rect.width()))
        painter.setFont(caption)
        painter.setPen(theme.color(c.text_soft))
        room_ = QRectF(body.left(), top, error_width(row, round(rect.width())), tall)
        painter.drawText(room_, int(WRAPPED), row.error)
        top += tall + Space.XS
    _files(painter, QRectF(body.left(), top + Space.XS, body.width(), 0), row)
    for action, zone in zones(row, rect):
        if is_near or action not in ("earlier", "later"):
            _button(painter, zone, action, row, hovered == action)


def _bar(painter: QPainter, rect: QRectF, row: Row) -> None:
    c = theme.colors()
    box(painter, rect, rect.height() / 2, c.pressed)
    if row.share:
        fill = c.accent if row.state == "running" else c.control
        width = max(rect.height(), rect.width() * row.share)
        box(painter, QRectF(rect.left(), rect.top(), width, rect.height()), rect.height() / 2, fill)


def _files(painter: QPainter, rect: QRectF, row: Row) -> None:
    c = theme.colors()
    numbers = theme.font(Type.CAPTION, tabular=True)
    line, amount = scaled(20), width_of(of_words(999_000_000, 999_000_000_000), numbers)
    for place, file in enumerate(row.files):
        y = rect.top() + place * line
        is_whole = file.done >= file.total > 0
        words = figures.size(file.total) if is_whole else of_words(file.done, file.total)
        right = width_of(words, numbers)
        text(painter, QRectF(rect.right() - right, y, right + 1, line), words, numbers, c.text_muted)
        if is_whole:
            icons.paint(painter, "check", rect.left(), y + (line - 14) / 2, 14, c.ok)
        elif file.total:
            place_ = QRectF(rect.right() - amount - 96, y + line / 2 - 2, 80, 4)
            box(painter, place_, 2, c.pressed)
            if file.done:
                box(painter, QRectF(place_.left(), place_.top(), 80 * file.done / file.total, 4), 2, c.accent)
        room = rect.width() - amount - 136
        text(painter, QRectF(rect.left() + 20, y, room, line), file.name, theme.font(Type.CAPTION), c.text_soft)


def _button(painter: QPainter, zone: QRectF, action: Action, row: Row, is_hovered: bool) -> None:
    c = theme.colors()
    if is_hovered:
        box(painter, zone, Radius.M, c.hover)
    tint = c.text_soft if is_hovered else c.text_muted
    if action == "why":
        words = theme.font(Type.CAPTION_STRONG)
        text(painter, zone, say("help.why"), words, c.accent_text, Qt.AlignmentFlag.AlignCenter)
        return
    icon = ("down" if row.is_open else "right") if action == "fold" else ICONS[action]
    x, y = zone.center().x() - Size.ICON_S / 2, zone.center().y() - Size.ICON_S / 2
    icons.paint(painter, icon, x, y, Size.ICON_S, tint)
