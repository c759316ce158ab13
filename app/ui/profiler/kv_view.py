"""What keys and values take: a form a line, a column for each number of sequences, or for each length.

Invariant: a cell that ran out of memory, or was not begun, says so in its place in the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.ui.profiler.bars import decode_speed
from app.ui.profiler.parts import CellTable, Section
from app.ui.profiler.words import GIB, Shown, gib, named, number, rate, size, state_words
from app.ui.widgets.table import Cell
from app.ui.widgets.toggle import Segmented
from core import figures
from core.profiling import plan, readme_table
from core.translation import say

By = dict[int, list[plan.Cell]]
MOST = 9  # columns


class KvView(Section):
    def __init__(self) -> None:
        self.what = Segmented(say("profile_ui.kv_what"), [say("profile_ui.kv_memory"), say("profile_ui.kv_speed")])
        super().__init__(say("profile_ui.kv_table"), say("profile_ui.kv_remark"), self.what)
        self.what.chosen.connect(lambda _: self._show())
        self._shown: Shown | None = None
        self.batches = CellTable(say("profile_ui.kv_by_batch"))
        self.lengths = CellTable(say("profile_ui.kv_by_length"))
        for table in (self.batches, self.lengths):
            table.asked.connect(self.asked)
            self.add(table)

    def showing(self, shown: Shown) -> Iterator[None]:
        self._shown = shown
        yield from self._showing()

    def _show(self) -> None:
        for _ in self._showing():
            pass

    def _showing(self) -> Iterator[None]:
        """A table at a time."""
        shown = self._shown
        if shown is None:
            return
        cells = shown.of("inference")
        is_asked = shown.run.plan.preset == "kv-cache" or len({cell.kv_cache for cell in cells}) > 1
        batches, lengths = by_batch(cells), by_length(cells)
        has_batches, has_lengths = len(batches) > 1, len(lengths) > 1 and is_asked
        self.setVisible(has_batches or has_lengths)
        self.batches.setVisible(has_batches)
        self.lengths.setVisible(has_lengths)
        if has_batches:
            self._fill(self.batches, batches, "batch", shown)
            yield
        if has_lengths:
            self._fill(self.lengths, lengths, "length", shown)
            yield

    def _fill(self, table: CellTable, by: By, axis: str, shown: Shown) -> None:
        columns = sorted(by)[:MOST]
        forms: dict[tuple[str, str, str], dict[int, plan.Cell]] = {}
        for value in columns:
            for cell in by[value]:
                forms.setdefault((cell.subject.name, cell.weights, cell.kv_cache), {})[value] = cell
        header = [say(f"profile_ui.kv_by_{axis}")]
        header += [say(f"profile_ui.kv_{axis}", count=figures.count(value)) for value in columns]
        rows = []
        for placed in forms.values():
            name = named(next(iter(placed.values())), has_models=shown.has_several_models)
            keys = ["", *(placed[value].key if value in placed else "" for value in columns)]
            cells = [self._cell(placed.get(value), shown) for value in columns]
            rows.append((keys, [Cell(name, strong=True), *cells]))
        table.set_tall(any(cell.second for _, cells in rows for cell in cells))
        table.show_rows(header, [0, *[max(118, 700 // len(columns))] * len(columns)], rows)

    def _cell(self, cell: plan.Cell | None, shown: Shown) -> Cell:
        if cell is None:
            return Cell("")
        result = shown.results.get(cell.key)
        if result is None or result.state != "done":
            words, tone = state_words(result, is_current=cell.key == shown.current)
            if result is not None and result.state == "out_of_memory":
                words = say("profile_ui.oom_short")
            return Cell("", badge=words, tone=tone)
        if self.what.current:
            return Cell(rate(decode_speed(result)), strong=True)
        taken = result.card_peak_bytes or result.peak_bytes
        published = [one for one in readme_table.published(cell) if one.quantity == "memory"]
        if not published:
            return Cell(size(taken), strong=True)
        value = published[0].value
        theirs = say("profile_ui.published", value=number(value / GIB)) if value else say("profile_ui.published_out")
        return Cell(gib(taken), second=theirs)


def by_batch(cells: Sequence[plan.Cell]) -> By:
    """Those of the lengths that most numbers of sequences were asked of."""
    groups: dict[tuple[int, int], By] = {}
    for cell in cells:
        if (case := cell.case) is not None:
            groups.setdefault((case.prompt, case.new), {}).setdefault(case.batch, []).append(cell)
    return max(groups.values(), key=len, default={})


def by_length(cells: Sequence[plan.Cell]) -> By:
    """Of one sequence."""
    single = [cell for cell in cells if cell.case is not None and cell.case.batch == 1 and cell.case.new > 1]
    is_all_written = all(cell.case is not None and cell.case.prompt == 1 for cell in single)  # as in the README
    found: By = {}
    for cell in single:
        found.setdefault(cell.tokens - 1 if is_all_written else cell.tokens, []).append(cell)
    return found
