"""The tables of what was measured: every cell with its estimate, and fine-tunes with their step.

Invariant: one row a cell in the order of the table, done or not; a row opens its cell.
"""

from __future__ import annotations

from statistics import median

from app.ui.profiler.parts import CellTable, Section
from app.ui.profiler.words import (
    NONE,
    Shown,
    case_words,
    form_words,
    milliseconds,
    number,
    percent,
    signed_fine,
    size,
    state_words,
    why,
)
from app.ui.widgets.table import Cell
from core import figures
from core.profiling import plan
from core.profiling.result import CellResult
from core.translation import say

CELLS = (("cell", 0), ("load", 84), ("first", 92), ("reading", 104), ("decode", 104), ("peak", 104),
         ("estimate", 104), ("off", 84), ("bandwidth", 104), ("state", 128))  # fmt: skip
SPARE = (8, 1, 2, 6)
TRAINING = (("form", 0), ("case", 180), ("step", 96), ("forward", 100), ("backward", 112), ("optimiser", 116),
            ("tokens", 96), ("peak", 104), ("off", 84), ("state", 128))  # fmt: skip
TRAINING_SPARE = (5, 3, 4, 6, 8)


class CellsView(Section):
    """Every cell; the estimate of its memory against what it took."""

    def __init__(self) -> None:
        super().__init__(say("profile_ui.cells"))
        self.rows = CellTable(say("profile_ui.cells"), tall=True, spare=SPARE, least=230)
        self.rows.asked.connect(self.asked)
        self.add(self.rows)

    def show_table(self, shown: Shown) -> None:
        cells = [cell for cell in shown.cells if cell.kind != "training"]
        self.setVisible(bool(cells))
        if cells:
            rows = [((cell.key,), self._row(cell, shown)) for cell in cells]
            header = [say(f"profile_ui.column_{name}") for name, _ in CELLS]
            self.rows.show_rows(header, [width for _, width in CELLS], rows)
            self.remark.setText(error_words(shown))

    def _row(self, cell: plan.Cell, shown: Shown) -> list[Cell]:
        result = shown.results.get(cell.key)
        found = result.inference if result is not None else None
        name = f"{cell.subject.name} · {form_words(cell)}" if shown.has_several_models else form_words(cell)
        return [
            Cell(name, second=case_words(cell), strong=True),
            _number(figures.duration(result.load_s) if result is not None and result.load_s else NONE),
            _number(milliseconds(found.first_token_s if found else None)),
            _number(number(found.prompt_tokens_per_s if found else None)),
            _number(_decode(result), strong=True),
            _number(size(result.whole_peak if result is not None else None), strong=True),
            *_estimate(result),
            _number(percent(result.bandwidth_share) if result is not None else NONE),
            _state(cell, shown),
        ]


class TrainingView(Section):
    """Seconds a step and memory, as the README's table of LoRA and Q-LoRA."""

    def __init__(self) -> None:
        super().__init__(say("profile_ui.training"), say("profile_ui.training_remark"))
        self.rows = CellTable(say("profile_ui.training"), spare=TRAINING_SPARE, least=150)
        self.rows.asked.connect(self.asked)
        self.add(self.rows)

    def show_table(self, shown: Shown) -> None:
        cells = shown.of("training")
        self.setVisible(bool(cells))
        if cells:
            rows = [((cell.key,), self._row(cell, shown)) for cell in cells]
            header = [say(f"profile_ui.column_{name}") for name, _ in TRAINING]
            self.rows.show_rows(header, [width for _, width in TRAINING], rows)

    def _row(self, cell: plan.Cell, shown: Shown) -> list[Cell]:
        result = shown.results.get(cell.key)
        found = result.training if result is not None else None
        name = f"{cell.subject.name} · {form_words(cell)}" if shown.has_several_models else form_words(cell)

        def seconds(part: str) -> str:
            return number(getattr(found, part)) if found is not None else NONE

        return [
            Cell(name, strong=True), Cell(case_words(cell)), _number(seconds("step_s"), strong=True),
            _number(seconds("forward_s")), _number(seconds("backward_s")), _number(seconds("optimiser_s")),
            _number(number(found.tokens_per_s if found is not None else None)),
            _number(size(result.whole_peak if result is not None else None), strong=True), _estimate(result)[1],
            _state(cell, shown),
        ]  # fmt: skip


def error_words(shown: Shown) -> str:
    """How good the estimates of this table were."""
    found = [abs(error) for r in shown.results.values() if (error := r.estimate_error) is not None]
    if not found:
        return ""
    return say("profile_ui.estimates", median=f"{median(found):.1%}", most=f"{max(found):.1%}")


def _number(words: str, *, strong: bool = False) -> Cell:
    return Cell(words, number=True, strong=strong)


def _decode(result: CellResult | None) -> str:
    if result is None:
        return NONE
    if result.quality is not None:
        return say("profile_ui.perplexity_short", value=f"{result.quality.perplexity:.2f}")
    return number(result.inference.decode_tokens_per_s if result.inference else None)


def _estimate(result: CellResult | None) -> list[Cell]:
    """What was said before, and by how much that was off."""
    if result is None or result.estimate is None:
        return [_number(NONE), _number(NONE)]
    return [_number(size(result.estimate.total)), _number(signed_fine(result.estimate_error))]


def _state(cell: plan.Cell, shown: Shown) -> Cell:
    result = shown.results.get(cell.key)
    words, tone = state_words(result, is_current=cell.key == shown.current)
    return Cell("", badge=words, tone=tone, mark="dot", hint=why(result) if result is not None else "")
