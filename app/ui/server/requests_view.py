"""Who asks what now, and what was asked before.

Invariant: no word of a request or an answer is shown: only who, which path, how much and how fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.services.request_log import Entry, RequestLog
from app.ui.server import words
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, column, label, pane
from app.ui.widgets.page import section
from app.ui.widgets.table import Cell, Rows, Table
from core import figures
from core.protocol.serving import OutsideRequest
from core.translation import say

LIVE = (("state", 112), ("client", 0), ("model", 118), ("read", 68), ("written", 72), ("rate", 112), ("since", 72))
ENDED = (("time", 86), ("path", 0), ("end", 142), ("model", 118), ("read", 68), ("written", 72), ("rate", 112),
         ("took", 72))  # fmt: skip
MOST_LIVE, MOST_ENDED = 6, 8  # rows without scrolling
LEAST = 250


class RequestsView(QWidget):
    """
    Signals:
        clear_asked: the log shall be empty
    """

    clear_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._lines = column(gap=Space.XL)
        self.setLayout(self._lines)

    def build(self) -> Iterator[None]:
        """The two tables, one at a time."""
        self.nobody, self.queue = _empty("server_ui.nobody"), label("", "caption", "muted")
        self.live = _table("live", LIVE, spare=(2, 3))
        yield
        now = Card(column(self.nobody, self.live, gap=0), padding=1)
        self._lines.addWidget(section(say("server_ui.live"), "", now, self.queue))
        self.show_live(())
        yield
        self.no_log = _empty("server_ui.no_log")
        self.log = _table("log", ENDED, spare=(3, 4, 7))
        self.clear = Button(say("server_ui.clear"), "ghost", small=True)
        self.clear.clicked.connect(self.clear_asked)
        self.clear.hide()
        yield
        self.gone = label("", "caption", "muted", wrap=True)
        self.gone.setContentsMargins(Space.L, Space.S, Space.L, Space.S)
        self.log.gave_way.connect(self._say_what_is_gone)
        self._say_what_is_gone()
        before = Card(column(self.no_log, self.log, self.gone, gap=0), padding=1)
        self._lines.addWidget(section(say("server_ui.log"), say("server_ui.log_remark"), before, self.clear))

    def show_live(self, live: Sequence[OutsideRequest]) -> None:
        _fill(self.live, [_live_row(one) for one in live], MOST_LIVE)
        self.live.setVisible(bool(live))
        self.nobody.setVisible(not live)
        self.queue.setText(words.queue_words(live) if live else "")

    def show_log(self, log: RequestLog) -> None:
        entries = list(log.entries)
        _fill(self.log, [_ended_row(one) for one in entries], MOST_ENDED)
        self.log.setVisible(bool(entries))
        self.no_log.setVisible(not entries)
        self._say_what_is_gone()
        self.clear.setVisible(bool(entries))

    def _say_what_is_gone(self) -> None:
        gone = self.log.gone
        self.gone.setText(say("server_ui.columns_hidden", names=say("profile_ui.list_comma").join(gone)))
        self.gone.setVisible(bool(gone) and not self.log.isHidden())


def _table(name: str, columns: Sequence[tuple[str, int]], spare: Sequence[int]) -> Table:
    header = [say(f"server_ui.column_{one}") for one, _ in columns]
    made = Table(say(f"server_ui.{name}"), Rows(header, []), [width for _, width in columns])
    made.give_way(spare, LEAST)
    made.hide()
    return made


def _empty(key: str) -> QWidget:
    line = column(label(say(key), "body", "muted", wrap=True))
    line.setContentsMargins(Space.L, Space.M, Space.L, Space.M)
    return pane(line)


def _fill(table: Table, rows: Sequence[Sequence[Cell]], most: int) -> None:
    model = table.model()
    assert isinstance(model, Rows)
    if model.rowCount() == len(rows):
        for place, cells in enumerate(rows):
            model.change(place, cells)
        return
    bar = table.verticalScrollBar()
    place = bar.value()
    model.replace(rows)
    bar.setValue(place)
    height = table.verticalHeader().defaultSectionSize() * min(len(rows), most)
    table.setFixedHeight(height + table.horizontalHeader().sizeHint().height() + 2)


def _live_row(one: OutsideRequest) -> list[Cell]:
    state, tone = words.state_words(one)
    read, written = words.amounts(one.prompt_tokens, one.new_tokens)
    return [
        Cell("", badge=state, tone=tone, mark="dot"),
        Cell(f"{words.who(one.client)} · {one.path}"),
        Cell(one.model, hint=one.model),
        Cell(read, number=True),
        Cell(written, number=True),
        Cell(words.rate(one.tokens_per_s), number=True),
        Cell(figures.duration(one.seconds), number=True),
    ]


def _ended_row(one: Entry) -> list[Cell]:
    end, tone, hint = words.end_words(one)
    read, written = words.amounts(one.prompt_tokens, one.new_tokens)
    path = one.path or say("server_ui.other_path")
    took = figures.duration(one.seconds) if one.seconds else ""
    speed = words.rate(one.tokens_per_s)
    amounts = {"read": read or "–", "written": written or "–", "rate": speed or "–", "took": took or "–"}
    whole = say("server_ui.row_hint", model=one.model, **amounts) if one.model else ""
    return [
        Cell(words.clock(one.at), hint=whole),
        Cell(f"{words.who(one.client)} · {path}" if one.client else path, hint=whole),
        Cell("", badge=end, tone=tone, mark="dot", hint=hint),
        Cell(one.model, hint=one.model),
        Cell(read, number=True),
        Cell(written, number=True, hint=whole),
        Cell(speed, number=True, hint=whole),
        Cell(took, number=True),
    ]
