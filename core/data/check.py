"""The check of a file of training data: every row read once, then the usable ones measured in tokens.

Owns the order of the work and what is remembered of a file afterwards. Invariant: problems come in the order of the
file, and no more than PROBLEMS_MOST of them are kept, whatever the file is.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable

from core.data.conversation import Example
from core.data.dataset import Dataset
from core.data.lengths import measured
from core.data.problems import Fault, Problem, problem
from core.data.rendered import Renderer
from core.data.report import DataReport, Leaks, Lengths
from core.data.split import answer_key, content_key, is_validation, question_key
from core.data.steps import EVERY_ROWS, Step, Work

PROBLEMS_MOST = 500
LEAKS_TOLD = 20


class Findings:
    """What is known of a file after its rows were read.

    Attributes:
        usable: places of the rows (from 0) that can be trained on
        first_of: places of the rows that say exactly what an earlier one says, with the place of that
    """

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self.usable = array("Q")
        self.first_of: dict[int, int] = {}
        self.problems: list[Problem] = []
        self.counts: Counter[str] = Counter()
        self.roles: Counter[str] = Counter()
        self.questions: set[int] = set()
        self.answers: set[int] = set()
        self.pairs: dict[int, int] = {}
        self.validation_rows = 0

    def faults(self, row: int) -> tuple[Example | None, list[Fault]]:
        """A row with all that is wrong with it, also what only the others tell."""
        example, faults = self.data.read(row)
        if (first := self.first_of.get(row)) is not None:
            faults = [*faults, Fault("duplicate", {"first": first + 1})]
        return example, faults

    def note(self, row: int, faults: list[Fault]) -> None:
        for fault in faults:
            self.counts[fault.code] += 1
            if len(self.problems) < PROBLEMS_MOST:
                self.problems.append(problem(fault, self.data.rows.line(row), row + 1))


def read_all(data: Dataset, validation_share: float = 0.0, *, with_answers: bool = False) -> Work[Findings]:
    """with_answers: remember them too, for a comparison with another file"""
    found = Findings(data)
    total = len(data.rows)
    for row in range(total):
        example, faults = data.read(row)
        if example is not None:
            key = content_key(example)
            if (first := found.pairs.setdefault(key, row)) != row:
                found.first_of[row] = first
                faults = [*faults, Fault("duplicate", {"first": first + 1})]
            question = question_key(example)
            found.questions.add(question)
            if with_answers:
                found.answers.add(answer_key(example))
            found.validation_rows += is_validation(question, validation_share)
            found.usable.append(row)
            found.roles.update(message.role for message in example.messages)
        found.note(row, faults)
        if row % EVERY_ROWS == 0:
            yield Step("checking_data", row, total, "rows")
    return found


def check(
    data: Dataset,
    *,
    renderer: Renderer | None = None,
    length: int = 0,
    validation_share: float = 0.0,
    eval_data: Dataset | None = None,
    keep: Callable[[Findings], None] = lambda found: None,
) -> Work[DataReport]:
    """renderer: measures rows in tokens; length: where they are cut, 0 for nowhere; keep: is given what rows tell."""
    found = yield from read_all(data, validation_share, with_answers=eval_data is not None)
    lengths: Lengths | None = None
    if renderer is not None:
        lengths = yield from _measured(found, renderer, length, validation_share)
    leaks = (yield from _leaks(found, eval_data)) if eval_data is not None else None
    report = _report(found, lengths, leaks)
    found.questions.clear()  # hundreds of megabytes for a million rows, and nobody asks for them any more
    found.answers.clear()
    found.pairs.clear()
    keep(found)
    return report


def _measured(found: Findings, renderer: Renderer, length: int, share: float) -> Work[Lengths]:
    """Rows the model's template cannot say are problems of their own, and not usable."""
    lengths, refused = yield from measured(found.data, found.usable, renderer, length)
    late: list[Problem] = []
    for row, fault in refused:
        found.counts[fault.code] += 1
        late.append(problem(fault, found.data.rows.line(row), row + 1))
        example = found.data.read(row).example
        found.validation_rows -= example is not None and is_validation(question_key(example), share)
    gone = {row for row, _ in refused}
    found.usable = array("Q", (row for row in found.usable if row not in gone)) if gone else found.usable
    found.problems = sorted([*found.problems, *late], key=lambda one: one.row)[:PROBLEMS_MOST]
    return lengths


def _leaks(found: Findings, eval_data: Dataset) -> Work[Leaks]:
    questions = answers = 0
    rows: list[int] = []
    total = len(eval_data.rows)
    for row in range(total):
        example = eval_data.read(row).example
        if example is not None and question_key(example) in found.questions:
            questions += 1
            answers += answer_key(example) in found.answers
            rows += [row + 1] if len(rows) < LEAKS_TOLD else []
        if row % EVERY_ROWS == 0:
            yield Step("checking_data", row, total, "rows")
    return Leaks(str(eval_data.path), total, questions, answers, tuple(rows))


def _report(found: Findings, lengths: Lengths | None, leaks: Leaks | None) -> DataReport:
    data = found.data
    return DataReport(
        file=str(data.path), kind=data.rows.kind, format=data.shape.format, encoding=data.rows.encoding,
        sha256=data.rows.sha256, bytes=data.rows.size, names=data.names, columns=data.shape.columns,
        rows=len(data.rows), usable_rows=len(found.usable),
        train_rows=len(found.usable) - found.validation_rows, validation_rows=found.validation_rows,
        duplicates=len(found.first_of), roles=tuple(found.roles.most_common()), problems=tuple(found.problems),
        counts=tuple(found.counts.most_common()), lengths=lengths, leaks=leaks,
    )  # fmt: skip
