"""The tables of what was measured: every cell with its estimate, and fine-tunes with their step.

Invariant: one row a cell in the order of the table, done or not; a row opens its cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from app.ui.profiler.parts import CellTable, Keyed, Section
from app.ui.profiler.words import (
    NONE,
    Shown,
    case_words,
    milliseconds,
    named,
    number,
    percent,
    signed_fine,
    size,
    why,
)
from app.ui.widgets.table import Cell
from core import figures
from core.profiling import plan
from core.profiling.result import CellResult
from core.translation import say

WIDTHS = {"load": 84, "first": 92, "reading": 104, "decode": 104, "perplexity": 104, "peak": 104, "estimate": 104,
          "off": 84, "bandwidth": 104, "state": 128, "step": 96, "forward": 100, "backward": 112, "optimiser": 116,
          "tokens": 96, "case": 180}  # fmt: skip
CELLS = ("cell", "load", "first", "reading", "decode", "perplexity", "peak", "estimate", "off", "bandwidth", "state")
SPARE = ("bandwidth", "load", "first", "estimate")  # what goes first where room is scarce
TRAINING = ("form", "case", "step", "forward", "backward", "optimiser", "tokens", "peak", "off", "state")
TRAINING_SPARE = ("optimiser", "forward", "backward", "tokens", "off")
OBVIOUS = ("cell", "form", "case", "state")  # headings that need no words


def _show(rows: CellTable, names: Sequence[str], spare: Sequence[str], cells: Keyed) -> None:
    rows.set_spare([names.index(name) for name in spare])
    header = [say(f"profile_ui.column_{name}") for name in names]
    hints = ["" if name in OBVIOUS else say(f"profile_ui.hint_{name}") for name in names]
    rows.show_rows(header, [WIDTHS.get(name, 0) for name in names], cells, hints)


class CellsView(Section):
    """Every cell; the estimate of its memory against what it took."""

    def __init__(self) -> None:
        super().__init__(say("profile_ui.cells"))
        self.rows = CellTable(say("profile_ui.cells"), tall=True, least=230)
        self.rows.asked.connect(self.asked)
        self.add(self.rows)

    def show_table(self, shown: Shown) -> None:
        cells = [cell for cell in shown.cells if cell.kind != "training"]
        self.setVisible(bool(cells))
        if cells:
            has_quality = any(cell.kind == "quality" for cell in cells)
            names = [name for name in CELLS if has_quality or name != "perplexity"]
            rows = []
            for cell in cells:
                found = self._row(cell, shown)
                rows.append(((cell.key,), [found[name] for name in names]))
            _show(self.rows, names, SPARE, rows)
            self.remark.setText(error_words(shown))

    def _row(self, cell: plan.Cell, shown: Shown) -> dict[str, Cell]:
        """By the name of the column."""
        result = shown.results.get(cell.key)
        found, quality = (result.inference, result.quality) if result is not None else (None, None)
        estimate, off = _estimate(result)
        return {
            "cell": Cell(named(cell, has_models=shown.has_several_models), second=case_words(cell), strong=True),
            "load": _number(figures.duration(result.load_s) if result is not None and result.load_s else NONE),
            "first": _number(milliseconds(found.first_token_s if found else None)),
            "reading": _number(number(found.prompt_tokens_per_s if found else None)),
            "decode": _number(number(found.decode_tokens_per_s if found else None), strong=True),
            "perplexity": _number(f"{quality.perplexity:.2f}" if quality else NONE),
            "peak": _number(size(result.whole_peak if result is not None else None), strong=True),
            "estimate": estimate,
            "off": off,
            "bandwidth": _bandwidth(result),
            "state": _state(cell, shown),
        }


class TrainingView(Section):
    """Seconds a step and memory, as the README's table of LoRA and Q-LoRA."""

    def __init__(self) -> None:
        super().__init__(say("profile_ui.training"), say("profile_ui.training_remark"))
        self.rows = CellTable(say("profile_ui.training"), least=150)
        self.rows.asked.connect(self.asked)
        self.add(self.rows)

    def show_table(self, shown: Shown) -> None:
        cells = shown.of("training")
        self.setVisible(bool(cells))
        if cells:
            rows = [((cell.key,), self._row(cell, shown)) for cell in cells]
            _show(self.rows, TRAINING, TRAINING_SPARE, rows)

    def _row(self, cell: plan.Cell, shown: Shown) -> list[Cell]:
        result = shown.results.get(cell.key)
        found = result.training if result is not None else None
        name = named(cell, has_models=shown.has_several_models)

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


def _bandwidth(result: CellResult | None) -> Cell:
    share = result.bandwidth_share if result is not None else None
    return Cell(percent(share), number=True, hint=say("profile_ui.above_limits") if share and share > 1 else "")


def _estimate(result: CellResult | None) -> list[Cell]:
    """What was said before, and by how much that was off."""
    if result is None or result.estimate is None:
        return [_number(NONE), _number(NONE)]
    return [_number(size(result.estimate.total)), _number(signed_fine(result.estimate_error))]


def _state(cell: plan.Cell, shown: Shown) -> Cell:
    result = shown.results.get(cell.key)
    words, tone = shown.state_of(cell)
    return Cell("", badge=words, tone=tone, mark="dot", hint=why(result) if result is not None else "")
