"""The tables of the README beside what was measured here: published on an A100, here, ratio.

Invariant: nothing is compared but like with like; where the README does not know a model, only what a form gains over
BF16 is, and the page says so.
"""

from __future__ import annotations

from app.ui.profiler.parts import CellTable, Section
from app.ui.profiler.words import NONE, Shown, case_words, form_words, gib, number, rate, times, weights_words
from app.ui.widgets.badge import Tone
from app.ui.widgets.button import Button
from app.ui.widgets.table import Cell
from core.profiling import plan, readme_table
from core.profiling.readme_table import Compared
from core.translation import say

BESIDE = ("setup", "published_speed", "here_speed", "ratio", "published_memory", "here_memory", "ratio")


class ReadmeView(Section):
    def __init__(self, again: Button) -> None:
        """again: measures the table anew."""
        super().__init__(say("profile_ui.readme"), say("profile_ui.readme_remark", device=readme_table.DEVICE), again)
        self.rows = CellTable(say("profile_ui.readme"), spare=(4, 1))
        self.ratios = CellTable(say("profile_ui.readme"))
        for table in (self.rows, self.ratios):
            table.asked.connect(self.asked)
            self.add(table)

    def show_table(self, shown: Shown) -> None:
        results = [shown.results[cell.key] for cell in shown.cells if cell.key in shown.results]
        found = readme_table.compared(results) if shown.run.plan.preset != "kv-cache" else []  # which KvView shows
        has_published = any(one.published for one in found)
        self.rows.setVisible(has_published)
        self.ratios.setVisible(not has_published)
        if has_published:
            self.remark.setText(say("profile_ui.readme_remark", device=readme_table.DEVICE))
            self._show_beside(found, has_models=shown.has_several_models)
        elif shown.run.plan.preset == "readme" and (ratios := readme_table.relative(results)):
            self.remark.setText(say("profile_ui.readme_ratios", device=readme_table.DEVICE))
            self._show_ratios(ratios, shown)
        else:
            self.hide()

    def _show_beside(self, found: list[Compared], *, has_models: bool) -> None:
        by_cell: dict[str, list[Compared]] = {}
        for one in found:
            by_cell.setdefault(one.cell.key, []).append(one)
        header = [say(f"profile_ui.readme_{name}") for name in BESIDE]
        rows = []
        for key, values in by_cell.items():
            if not any(one.published for one in values):
                continue
            speed = next((one for one in values if one.quantity != "memory"), None)
            memory = next((one for one in values if one.quantity == "memory"), None)
            cells = [Cell(_setup(values[0].cell, has_models=has_models), strong=True)]
            rows.append(((key,), [*cells, *_three(speed), *_three(memory)]))
        self.rows.show_rows(header, [0, 132, 116, 84, 148, 132, 84], rows)
        self.setVisible(bool(rows))

    def _show_ratios(self, ratios: list[readme_table.Relative], shown: Shown) -> None:
        header = [say(f"profile_ui.readme_{name}") for name in ("gain", "what", "published_ratio", "here_ratio")]
        rows = []
        for one in ratios:
            words = say("profile_ui.readme_against", weights=weights_words(one.weights))
            words = f"{one.model} · {words}" if shown.has_several_models else words
            what = say(f"profile_ui.quantity_{one.quantity}")
            is_better = (one.measured >= one.published) == (one.quantity == "speed")
            badge = Cell("", badge=times(one.measured), tone="ok" if is_better else "neutral")
            cells = [
                Cell(f"{words}, {case_words(one.cell)}", strong=True),
                Cell(what),
                Cell(times(one.published), number=True),
                badge,
            ]
            rows.append(((one.cell.key,), cells))
        self.ratios.show_rows(header, [0, 200, 160, 160], rows)
        self.show()


def _setup(cell: plan.Cell, *, has_models: bool) -> str:
    words = f"{form_words(cell)}, {case_words(cell)}"
    return f"{cell.subject.name} · {words}" if has_models else words


def _three(one: Compared | None) -> list[Cell]:
    """Published, here, ratio; of what is missing a dash, of memory that ran out the word."""
    if one is None:
        return [Cell(NONE, number=True), Cell(NONE, number=True), Cell("")]
    is_out = one.published is None and one.quantity == "memory"
    published = say("profile_ui.oom_short") if is_out else _written(one.quantity, one.published)
    here = say("profile_ui.oom_short") if one.is_out_of_memory else _written(one.quantity, one.measured)
    cells = [Cell(published, number=True), Cell(here, number=True, strong=True)]
    if one.ratio is None:
        return [*cells, Cell("")]
    is_better = one.ratio >= 1 if one.quantity == "speed" else one.ratio <= 1
    tone: Tone = "ok" if is_better else "neutral"
    return [*cells, Cell("", badge=times(one.ratio), tone=tone)]


def _written(quantity: str, value: float | None) -> str:
    if quantity == "memory":
        return gib(value)
    if quantity == "step":
        return say("profile_ui.per_step", count=number(value)) if value else NONE
    return rate(value)
