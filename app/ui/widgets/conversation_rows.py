"""The rows of the conversation list: what stands in them, and how they are painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, QRectF, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QStyle, QStyleOptionViewItem

from app.ui import icons, theme
from app.ui.tokens import Radius, Space, Type
from app.ui.widgets import ages
from app.ui.widgets.painting import box, focus_ring, text, width_of
from core.store.records import ConversationSummary, Hit
from core.translation import say

HEADING_PX = 34
ROW_PX = 54
MATCH_OPEN, MATCH_CLOSE = "\x02", "\x03"
Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, slots=True)
class Heading:
    """A line between the rows, by its key in the catalogue and an optional count."""

    key: str
    count: int = 0

    @property
    def words(self) -> str:
        return say(self.key, count=f"{self.count:,}") if self.count else say(self.key)


Entry = Heading | ConversationSummary | Hit


class Entries(QAbstractListModel):
    """The rows. An update changes only the rows that differ.

    Signals:
        renamed: a conversation and its new title.
    """

    renamed = Signal(int, str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.rows: list[Entry] = []
        self.streaming: set[int] = set()
        self.now = datetime.now().astimezone()

    def show_conversations(self, summaries: Sequence[ConversationSummary], now: datetime | None) -> None:
        self.now = (now or datetime.now()).astimezone()
        ordered = sorted(summaries, key=lambda s: (not s.pinned, -ages.aware(s.updated).timestamp()))
        starts = ages.borders(self.now)

        def heading(summary: ConversationSummary) -> str:
            return "pinned" if summary.pinned else ages.group(ages.aware(summary.updated), starts)

        rows: list[Entry] = []
        for key, group in groupby(ordered, heading):
            rows += [Heading(f"transcript.{key}"), *group]
        self._show(rows)

    def show_hits(self, hits: Sequence[Hit], now: datetime | None) -> None:
        self.now = (now or datetime.now()).astimezone()
        keys = {0: "transcript.found_none", 1: "transcript.found_one"}
        count = len(hits) if len(hits) > 1 else 0
        self._show([Heading(keys.get(len(hits), "transcript.found"), count), *hits])

    def _show(self, rows: list[Entry]) -> None:
        """Exchange the rows between the common beginning and the common end; tell of those that changed in place."""
        old, new = [_key(row) for row in self.rows], [_key(row) for row in rows]
        head = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        rest = min(len(old), len(new)) - head
        tail = next((i for i in range(rest) if old[-1 - i] != new[-1 - i]), rest)
        changed = [i for i in range(head) if self.rows[i] != rows[i]]
        changed += [len(new) - 1 - i for i in range(tail) if self.rows[-1 - i] != rows[-1 - i]]
        if len(old) - tail > head:
            self.beginRemoveRows(QModelIndex(), head, len(old) - tail - 1)
            del self.rows[head : len(old) - tail]
            self.endRemoveRows()
        if len(new) - tail > head:
            self.beginInsertRows(QModelIndex(), head, len(new) - tail - 1)
            self.rows[head:head] = rows[head : len(new) - tail]
            self.endInsertRows()
        self.rows = rows
        for row in changed:
            self.dataChanged.emit(self.index(row, 0), self.index(row, 0))

    def set_streaming(self, conversation_id: int, on: bool) -> None:
        if on:
            self.streaming.add(conversation_id)
        else:
            self.streaming.discard(conversation_id)
        if (row := self.row_of(conversation_id)) is not None:
            self.dataChanged.emit(self.index(row, 0), self.index(row, 0))

    def row_of(self, conversation_id: int | None) -> int | None:
        rows = enumerate(self.rows)
        return next((i for i, row in rows if isinstance(row, ConversationSummary) and row.id == conversation_id), None)

    def title(self, row: int) -> str:
        entry = self.rows[row]
        return entry.words if isinstance(entry, Heading) else entry.title or say("transcript.untitled")

    def rename(self, row: int, title: str) -> None:
        entry = self.rows[row]
        if isinstance(entry, ConversationSummary) and title.strip() and title.strip() != entry.title:
            self.renamed.emit(entry.id, title.strip())

    def when(self, row: int) -> str:
        entry = self.rows[row]
        return "" if isinstance(entry, Heading) else ages.short(ages.aware(entry.updated).astimezone(), self.now)

    def below(self, row: int) -> str:
        """The second line: what it is about, or that the model is at it."""
        entry = self.rows[row]
        if isinstance(entry, Hit):
            return entry.snippet.replace("\n", " ")
        if isinstance(entry, ConversationSummary):
            return say("transcript.answering") if entry.id in self.streaming else entry.preview.replace("\n", " ")
        return ""

    # what Qt asks

    def rowCount(self, parent: Index = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role == Qt.ItemDataRole.DisplayRole:
            return self.title(index.row())
        if role == Qt.ItemDataRole.AccessibleTextRole:
            parts = (self.title(index.row()), self.when(index.row()), _unmarked(self.below(index.row())))
            return ", ".join(part for part in parts if part)
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        entry = self.rows[index.row()] if index.isValid() else None
        if entry is None or isinstance(entry, Heading):
            return Qt.ItemFlag.NoItemFlags
        base = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return base | Qt.ItemFlag.ItemIsEditable if isinstance(entry, ConversationSummary) else base


def paint_row(painter: QPainter, option: QStyleOptionViewItem, entries: Entries, row: int) -> None:
    """Title and time on one line, a muted line below; the match of a search in the colour of the accent."""
    c = theme.colors()
    rect = QRectF(option.rect).adjusted(Space.S, 1, -Space.S, -1)
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    if isinstance(entries.rows[row], Heading):
        below = rect.adjusted(Space.S + 2, 8, 0, 0)
        text(painter, below, entries.title(row), theme.font(Type.CAPTION_STRONG), c.text_muted)
    else:
        _ground(painter, option, rect)
        _words(painter, rect.adjusted(Space.S + 2, 7, -Space.S - 2, -7), entries, row)
    painter.restore()


def _ground(painter: QPainter, option: QStyleOptionViewItem, rect: QRectF) -> None:
    c = theme.colors()
    state = option.state
    if state & QStyle.StateFlag.State_Selected:
        box(painter, rect, Radius.M, c.selected)
    elif state & QStyle.StateFlag.State_MouseOver:
        box(painter, rect, Radius.M, c.hover)
    if state & QStyle.StateFlag.State_HasFocus and option.widget.property("keyboard"):
        focus_ring(painter, rect, Radius.M)


def _words(painter: QPainter, rect: QRectF, entries: Entries, row: int) -> None:
    c = theme.colors()
    entry = entries.rows[row]
    caption = theme.font(Type.CAPTION, tabular=True)
    when = entries.when(row)
    right = width_of(when, caption)
    scale = theme.state.text_scale
    line = 19 * scale
    x = rect.right() - right
    text(painter, QRectF(x, rect.top(), right + 1, line), when, caption, c.text_muted)
    if isinstance(entry, ConversationSummary) and entry.pinned:
        x -= 18
        icons.paint(painter, "pin", x, rect.top() + 3 * scale, 13, c.text_muted)
    title = QRectF(rect.left(), rect.top(), x - rect.left() - Space.S, line)
    text(painter, title, entries.title(row), theme.font(Type.BODY_STRONG), c.text)
    below = QRectF(rect.left(), rect.top() + 21 * scale, rect.width(), 17 * scale)
    if isinstance(entry, Hit):
        _snippet(painter, below, entries.below(row))
    else:
        streaming = isinstance(entry, ConversationSummary) and entry.id in entries.streaming
        tint = c.accent_text if streaming else c.text_muted
        text(painter, below, entries.below(row), theme.font(Type.CAPTION), tint)


def _snippet(painter: QPainter, rect: QRectF, snippet: str) -> None:
    """Begins close before the match, so that a narrow list shows it."""
    c = theme.colors()
    plain, strong = theme.font(Type.CAPTION), theme.font(Type.CAPTION_STRONG)
    before, _, rest = snippet.partition(MATCH_OPEN)
    if width_of(before, plain) > rect.width() / 2:
        before = "…" + before[-12:]
    x = rect.left()
    pieces = [(before, False)]
    for part in rest.split(MATCH_OPEN):
        match, _, after = part.partition(MATCH_CLOSE)
        pieces += [(match, True), (after, False)]
    for words, is_match in pieces:
        font = strong if is_match else plain
        room = rect.right() - x
        if not words or room < 4:
            continue
        used = min(width_of(words, font), room)
        if is_match:
            box(painter, QRectF(x - 1, rect.top() + 1, used + 2, rect.height() - 1), 3, c.accent_soft)
        place = QRectF(x, rect.top(), room, rect.height())
        text(painter, place, words, font, c.accent_text if is_match else c.text_muted)
        x += used


def _key(entry: Entry) -> tuple[str, int | None]:
    match entry:
        case Heading():
            return entry.key, 0
        case ConversationSummary():
            return "conversation", entry.id
        case Hit():
            return "hit", entry.message_id


def _unmarked(snippet: str) -> str:
    return snippet.replace(MATCH_OPEN, "").replace(MATCH_CLOSE, "")
