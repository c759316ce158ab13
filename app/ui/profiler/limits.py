"""The share of this machine's limits that each form reached, and what was probed to know them.

Invariant: a share stands beside the limit it is of, and the limit beside how it was measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel

from app.ui.profiler.parts import Section
from app.ui.profiler.words import Shown, case_words, named, percent
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.compare_bars import CompareBars, Compared
from app.ui.widgets.layout import Card, column, label, pane, row
from core import figures
from core.profiling.plan import Cell
from core.profiling.result import MachineProbe, Rate
from core.translation import say

SHARES = ("bandwidth", "matrix")
RATES = ("read", "copy", "matrix_bf16", "matrix_fp32")


class LimitsView(Section):
    """
    Signals:
        probe_asked: measure the limits again
    """

    probe_asked = Signal()

    def __init__(self) -> None:
        self.again = Button(say("profile_ui.probe_again"), "ghost", "refresh", small=True)
        super().__init__(say("profile_ui.limits"), say("profile_ui.limits_remark"), self.again)
        self.again.clicked.connect(self.probe_asked)
        self.bars: dict[str, CompareBars] = {}
        self._cards: dict[str, Card] = {}
        self._heads: dict[str, QLabel] = {}
        self._probe: MachineProbe | None = None
        self._has_shares = False
        self._keys: dict[str, list[str]] = {}
        for name in SHARES:
            bars = self.bars[name] = CompareBars(say(f"profile_ui.share_{name}"), say("profile_ui.details_hint"))
            bars.chosen.connect(lambda place, name=name: self.asked.emit(self._keys[name][place]))
            head = self._heads[name] = label("", "strong", wrap=True)
            head.setContentsMargins(6, 0, 6, 0)
            self._cards[name] = Card(column(head, bars, None, gap=Space.XS), padding=Space.S + 2)
        line = row(*self._cards.values(), gap=Space.XL)
        line.setStretch(0, 1)
        line.setStretch(1, 1)
        self.add(pane(line))
        self.above = label(say("profile_ui.above_limits"), "caption", "warn", wrap=True)
        self.above.hide()
        self.add(self.above)
        self.rates: dict[str, tuple[QLabel, QLabel]] = {}
        lines = column(gap=Space.XS)
        for name in RATES:
            value, how = label("", "strong"), label("", "caption", "muted", wrap=True)
            value.setMinimumWidth(112)
            title = label(say(f"profile.limit_{name}"), "body", "soft")
            title.setMinimumWidth(170)
            self.rates[name] = value, how
            one = row(title, value, how, gap=Space.M)
            one.setStretch(2, 1)
            lines.addLayout(one)
        self._known = Card(lines, padding=Space.M)
        self.add(self._known)

    def show_probe(self, probe: MachineProbe | None) -> None:
        self._probe = probe
        self._known.setVisible(probe is not None)
        self._say_remark()
        if probe is None:
            return
        for name, (value, how) in self.rates.items():
            rate: Rate = getattr(probe, name)
            is_memory = name in ("read", "copy")
            words = figures.speed(rate.value) if is_memory else figures.flops(rate.value)
            value.setText(words)
            how.setText(say(f"probe.{rate.how}", **rate.params))

    def show_table(self, shown: Shown) -> None:
        cells = shown.of("inference")
        self.setVisible(bool(cells))
        highest = 0.0
        for name in SHARES:
            all_of_it = [(cell, getattr(shown.results[cell.key], f"{name}_share")) for cell in cells
                         if cell.key in shown.results]  # fmt: skip
            found = _of_one_case([(cell, share) for cell, share in all_of_it if share is not None])
            self._keys[name] = [cell.key for cell, _ in found]
            self.bars[name].show_items(_items(found, shown), top=1.0)
            self._cards[name].setVisible(bool(found))
            if found:
                highest = max(highest, *(share for _, share in found))
                words = say(f"profile_ui.share_{name}")
                self._heads[name].setText(say("profile_ui.share_of_case", share=words, case=case_words(found[0][0])))
        self._has_shares = highest > 0
        self.above.setVisible(highest > 1)
        self._say_remark()

    def _say_remark(self) -> None:
        key = "limits_remark" if self._has_shares or self._probe is not None else "no_shares"
        self.remark.setText(say(f"profile_ui.{key}"))


def _of_one_case(found: Sequence[tuple[Cell, float]]) -> list[tuple[Cell, float]]:
    """Like beside like: of the case that most forms measured, and of such the one that came nearest to the limit."""
    by_case: dict[str, list[tuple[Cell, float]]] = {}
    for cell, share in found:
        by_case.setdefault(case_words(cell), []).append((cell, share))
    return max(by_case.values(), key=lambda one: (len(one), max(share for _, share in one)), default=[])


def _items(found: Sequence[tuple[Cell, float]], shown: Shown) -> list[Compared]:
    best = max((share for _, share in found), default=0.0)
    return [
        Compared(named(cell, has_models=shown.has_several_models), share, percent(share), strong=share == best)
        for cell, share in found
    ]
