"""The data worker: checks, shows and mends training data. Needs tokenizers, never torch.

Invariant: the file that was opened last stays indexed, so a row of it is shown at once; it is read anew as soon as the
file on disk is another one.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from msgspec import structs

from app.workers.host import JobControl, serve
from app.workers.tokens import shown_token
from core.chat.vocabulary import Vocabulary
from core.data.check import Findings, check
from core.data.conversation import Example, Mask
from core.data.dataset import open_data, unreadable
from core.data.mended_file import write_mended
from core.data.problems import Fault, problem
from core.data.rendered import Renderer
from core.data.split import is_validation, question_key
from core.data.steps import Step, Work
from core.errors import UserError
from core.protocol.messages import (
    CheckData,
    DataChecked,
    DataFile,
    DataMended,
    Finished,
    Job,
    JobEvent,
    MendData,
    Progress,
    RowShown,
    ShowRow,
)

TOLD_EVERY_S = 0.1
TOKENS_SHOWN = 20_000
TEXT_SHOWN = 200_000

Events = Iterator[JobEvent | None]
State = tuple[object, ...]
T = TypeVar("T")


class _Cancelled(Exception):
    pass


def main() -> None:
    """Be the worker until the front says Shutdown or is gone."""
    worker = DataWorker()
    serve({CheckData: worker.check, ShowRow: worker.show, MendData: worker.mend})


class DataWorker:
    def __init__(self) -> None:
        self._kept: tuple[State, Findings] | None = None
        self._share = 0.0  # of the last check, for the side a row is on

    def check(self, job: CheckData, control: JobControl) -> Events:
        data = job.data
        renderer = _renderer(data.model_folder, data.mask) if data.model_folder else None
        self._share = job.validation_share
        open_apart = open_data(Path(job.eval_data), data.columns, must_have=False)
        try:
            opened = yield from self._opened(job, data, control)
            apart = yield from _told(job, control, open_apart) if job.eval_data else _nothing()
            work = check(
                opened.data, renderer=renderer, length=data.length, validation_share=job.validation_share,
                eval_data=apart, keep=lambda found: self._keep(data, found),
            )  # fmt: skip
            report = yield from _told(job, control, work)
        except _Cancelled:
            yield Finished(job.job_id, "cancelled")
            return
        yield DataChecked(job.job_id, report)
        yield Finished(job.job_id)

    def show(self, job: ShowRow, control: JobControl) -> Events:
        try:
            opened = yield from self._opened(job, job.data, control)
        except _Cancelled:
            yield Finished(job.job_id, "cancelled")
            return
        rows = opened.data.rows
        if not 1 <= job.row <= len(rows):
            raise UserError("data_no_such_row", row=job.row, rows=len(rows))
        yield self._shown(job, opened)
        yield Finished(job.job_id)

    def mend(self, job: MendData, control: JobControl) -> Events:
        try:
            opened = yield from self._opened(job, job.data, control)
            work = write_mended(opened.data, Path(job.target), frozenset(job.fix), frozenset(job.drop))
            done = yield from _told(job, control, work)
        except _Cancelled:
            yield Finished(job.job_id, "cancelled")
            return
        yield DataMended(job.job_id, job.target, done.rows, done.kept, done.changed)
        yield Finished(job.job_id)

    def _opened(self, job: Job, data: DataFile, control: JobControl) -> Generator[JobEvent | None, None, Findings]:
        state = _state(data)
        if self._kept is not None and self._kept[0] == state:
            return self._kept[1]
        opened = yield from _told(job, control, open_data(Path(data.path), data.columns))
        self._kept = state, Findings(opened)
        return self._kept[1]

    def _keep(self, data: DataFile, found: Findings) -> None:
        self._kept = _state(data), found

    def _shown(self, job: ShowRow, opened: Findings) -> RowShown:
        row, rows = job.row - 1, opened.data.rows
        example, faults = opened.faults(row)
        text, line = rows.raw(row)[:TEXT_SHOWN].decode("utf-8", "ignore"), rows.line(row)
        shown = RowShown(job.job_id, job.row, line, text)
        if example is not None and job.data.model_folder:
            try:
                shown = _in_tokens(shown, example, job.data)
            except UserError as error:
                faults = [*faults, Fault(error.code, dict(error.params))]
        side = example is not None and is_validation(question_key(example), self._share)
        problems = tuple(problem(fault, line, job.row) for fault in faults)
        return structs.replace(shown, problems=problems, is_validation=side)


def _in_tokens(shown: RowShown, example: Example, data: DataFile) -> RowShown:
    ids, learned = _renderer(data.model_folder, data.mask).render(example)
    vocabulary, end = _vocabulary(data.model_folder), data.length or len(ids)
    return structs.replace(
        shown, tokens=tuple(shown_token(vocabulary, id) for id in ids[:TOKENS_SHOWN]),
        learned=tuple(learned[:TOKENS_SHOWN]), count=len(ids), count_learned=sum(learned),
        cut=len(ids[end:]), cut_learned=sum(learned[end:]),
    )  # fmt: skip


def _state(data: DataFile) -> State:
    """What an index belongs to: this file as it is now, read in this way."""
    try:
        stat = Path(data.path).stat()
    except (OSError, ValueError) as error:
        raise unreadable(Path(data.path), error) from error
    return data.path, data.columns, stat.st_mtime_ns, stat.st_size, stat.st_ino


@lru_cache(maxsize=2)
def _renderer(folder: str, mask: Mask) -> Renderer:
    from core.data.rendering import renderer_of  # brings the tokenizer libraries, which plain checks do not need

    return renderer_of(_vocabulary(folder), mask)


@lru_cache(maxsize=1)
def _vocabulary(folder: str) -> Vocabulary:
    return Vocabulary.load(Path(folder))


def _nothing() -> Generator[JobEvent | None, None, None]:
    return
    yield


def _told(job: Job, control: JobControl, work: Work[T]) -> Generator[JobEvent | None, None, T]:
    """The steps of `work` as Progress, at most ten a second, and its result."""
    due, stage = 0.0, ""
    with closing(work):
        while True:
            if control.is_cancelled:
                raise _Cancelled
            try:
                step = next(work)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if (now := time.monotonic()) < due and step.stage == stage:
                yield None
            else:
                due, stage = now + TOLD_EVERY_S, step.stage
                yield _progress(job, step)


def _progress(job: Job, step: Step) -> Progress:
    return Progress(job.job_id, step.done, step.total, step.stage, step.unit)
