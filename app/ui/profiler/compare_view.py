"""Two tables over time: the same cells, figure by figure, and which way each went.

Invariant: a change is called better or worse only where it is more than noise between two runs usually is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.ui.profiler.parts import CellTable, Section
from app.ui.profiler.words import milliseconds, rate, size, title, when
from app.ui.tokens import Space
from app.ui.widgets.badge import Tone
from app.ui.widgets.feedback import EmptyState
from app.ui.widgets.layout import Card, Elided, Scroll, column, label, pane, row
from app.ui.widgets.table import Cell
from core import figures
from core.profiling import comparing
from core.profiling.result import CellResult
from core.store.records import ProfileRun
from core.translation import say

TONES: dict[comparing.Verdict, Tone] = {"same": "neutral", "better": "ok", "worse": "warn"}
WRITES: dict[str, Callable[[float], str]] = {
    "first_token_s": milliseconds,
    "load_s": figures.duration,
    "step_s": figures.duration,
    "peak_bytes": size,
    "perplexity": lambda value: f"{value:.3f}",
}


class CompareView(QWidget):
    """
    Signals:
        asked: a CellResult of the second table
    """

    asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._after: dict[str, CellResult] = {}
        self.rows = CellTable(say("profile_ui.compare"), tall=True, least=220)
        self.rows.asked.connect(lambda key: self.asked.emit(self._after[key]))
        self._heads = column(gap=Space.XS)
        self._part = Section(say("profile_ui.compare_part"), say("profile_ui.compare_remark"))
        self._part.add(self.rows)
        self._none = EmptyState("layers", say("profile_ui.compare_none"), say("profile_ui.compare_none_means"))
        self._none.setMinimumHeight(260)
        body = column(Card(self._heads, padding=Space.M), self._part, self._none, None, gap=Space.L)
        body.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
        self.setLayout(column(Scroll(pane(body), say("profile_ui.compare"))))

    def show_two(
        self, before: tuple[ProfileRun, Sequence[CellResult]], after: tuple[ProfileRun, Sequence[CellResult]]
    ) -> None:
        while item := self._heads.takeAt(0):
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for key, (run, results) in (("first", before), ("second", after)):
            version = results[-1].versions.get("torch", "") if results else ""
            facts = " · ".join(part for part in (run.device, f"torch {version}" if version else "", when(run.created))
                               if part)  # fmt: skip
            name = label(say(f"profile_ui.compare_{key}"), "strong")
            name.setMinimumWidth(72)
            called = Elided(run.name)
            called.setFixedWidth(220)
            line = row(name, called, label(facts, "caption", "muted", wrap=True), gap=Space.M)
            line.setStretch(2, 1)
            self._heads.addWidget(pane(line))
        self._after = {result.cell.key: result for result in after[1]}
        changes = comparing.compared(before[1], after[1])
        self._part.setVisible(bool(changes))
        self._none.setVisible(not changes)
        if changes:
            self._fill(changes)

    def _fill(self, changes: Sequence[comparing.Change]) -> None:
        header = [say(f"profile_ui.compare_{name}") for name in ("cell", "first", "second", "change")]
        rows = []
        for one in changes:
            write = WRITES.get(one.figure, rate)
            name = Cell(say(f"profile_ui.figure_{one.figure}"), second=title(one.cell), hint=title(one.cell))
            cells = [name, *(Cell(write(value), number=True) for value in (one.first, one.second)), _change(one)]
            rows.append(((one.cell.key,), cells))
        self.rows.show_rows(header, [0, 140, 140, 168], rows)


def _change(one: comparing.Change) -> Cell:
    share = one.ratio - 1
    words = f"{share:+.1%}".replace("-", "−")
    return Cell(words, badge=say(f"profile_ui.{one.verdict}"), tone=TONES[one.verdict])
