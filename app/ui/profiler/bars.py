"""The forms of the weights beside one another: memory, speed and quality for one case.

Invariant: every form of the table has a bar or a word for why it has none, and they keep their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtWidgets import QWidget

from app.ui.profiler.parts import KeyChoice, Section
from app.ui.profiler.words import Shown, case_words, named, number, rate, signed, size, times
from app.ui.tokens import Space
from app.ui.widgets.compare_bars import CompareBars, Compared
from app.ui.widgets.layout import Card, column, pane, row
from core.profiling.plan import Cell
from core.profiling.result import CellResult
from core.translation import say

Value = Callable[[CellResult], float | None]
MEMORY, SPEED, QUALITY = "memory", "speed", "quality"


class BarsView(QWidget):
    """`asked` is that of its sections; `parts`: by what they compare."""

    def __init__(self) -> None:
        super().__init__()
        self.case = KeyChoice(say("profile_ui.case_choice"))
        self.case.picked.connect(lambda _: self._show())
        self.bars: dict[str, CompareBars] = {}
        self.parts: dict[str, Section] = {}
        self._keys: dict[str, list[str]] = {}
        self._shown: Shown | None = None
        for name in (MEMORY, SPEED, QUALITY):
            controls = [self.case] if name == MEMORY else []
            part = Section(say(f"profile_ui.bars_{name}"), say(f"profile_ui.bars_{name}_remark"), *controls)
            bars = self.bars[name] = CompareBars(say(f"profile_ui.bars_{name}"), say("profile_ui.details_hint"))
            bars.chosen.connect(lambda place, name=name: self._ask(name, place))
            part.add(Card(column(bars), padding=Space.S + 2))
            part.body.addStretch(1)
            self.parts[name] = part
        line = row(*self.parts.values(), gap=Space.XL)
        for place in range(3):
            line.setStretch(place, 1)
        self.setLayout(column(pane(line)))

    def _ask(self, name: str, place: int) -> None:
        self.parts[name].asked.emit(self._keys[name][place])

    def show_table(self, shown: Shown) -> None:
        self._shown = shown
        cases = {_case_key(cell): case_words(cell) for cell in shown.of("inference")}
        key = self.case.key if self.case.key in cases else next(iter(cases), "")
        self.case.show_choices(list(cases.items()), key)
        self.case.setVisible(len(cases) > 1)
        self._show()

    def _show(self) -> None:
        shown = self._shown
        if shown is None:
            return
        cells = [cell for cell in shown.of("inference") if _case_key(cell) == self.case.key]
        quality = shown.of("quality")
        self.parts[MEMORY].setVisible(bool(cells))
        self.parts[SPEED].setVisible(bool(cells))
        self.parts[QUALITY].setVisible(bool(quality))
        self.setVisible(bool(cells or quality))
        if not self.isHidden() and cells:
            words = case_words(cells[0])
            is_reading = cells[0].case is not None and cells[0].case.new == 1
            self.parts[MEMORY].remark.setText(say("profile_ui.bars_memory_remark"))
            remark = say("profile_ui.bars_reading_remark" if is_reading else "profile_ui.bars_speed_remark")
            self.parts[SPEED].remark.setText(f"{remark} · {words}")
            self._fill(MEMORY, cells, lambda r: float(r.peak_bytes) or None, size, signed_change)
            self._fill(SPEED, cells, reading_speed if is_reading else decode_speed, rate, times)
        if quality:
            self._fill(QUALITY, quality, lambda r: r.quality.perplexity if r.quality else None, perplexity, fine_change)

    def _fill(
        self, name: str, cells: Sequence[Cell], value: Value, write: Callable[[float], str],
        change: Callable[[float], str],
    ) -> None:  # fmt: skip
        shown = self._shown
        assert shown is not None
        results = [shown.results.get(cell.key) for cell in cells]
        values = [value(result) if result is not None and result.state == "done" else None for result in results]
        known = [one for one in values if one]
        best = (max if name == SPEED else min)(known) if len(set(known)) > 1 else None
        items = []
        for cell, one in zip(cells, values, strict=True):
            words = named(cell, has_models=shown.has_several_models)
            if not one:
                state, tone = shown.state_of(cell)
                items.append(Compared(words, None, state, tone=tone))
                continue
            first = next(
                (v for c, v in zip(cells, values, strict=True) if v and c.subject.name == cell.subject.name), one
            )
            remark = change(one / first) if one != first else ""
            items.append(Compared(words, one, write(one), remark, one == best))
        self._keys[name] = [cell.key for cell in cells]
        self.bars[name].show_items(items)


def _case_key(cell: Cell) -> str:
    assert cell.case is not None
    return f"{cell.case.prompt}+{cell.case.new}x{cell.case.batch}"


def decode_speed(result: CellResult) -> float | None:
    return (result.inference.decode_tokens_per_s or None) if result.inference else None


def reading_speed(result: CellResult) -> float | None:
    return (result.inference.prompt_tokens_per_s or None) if result.inference else None


def perplexity(value: float) -> str:
    return f"{value:.3f}" if value < 100 else number(value)


def signed_change(ratio: float) -> str:
    return signed(ratio - 1) if abs(ratio - 1) >= 0.005 else ""


def fine_change(ratio: float) -> str:
    return f"{ratio - 1:+.1%}".replace("-", "−")
