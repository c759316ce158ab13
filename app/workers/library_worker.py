"""The library worker: fetches, imports, merges and verifies models, one process for each such job.

Owns the translation from steps of core to events of the protocol. Invariant: a cancel closes the work at its next
step, which leaves the library as it was and keeps what was downloaded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from app.workers.host import JobControl, serve
from core import paths
from core.errors import UserError
from core.hub import catalogue
from core.models import shelf
from core.models.steps import Step, T, Work
from core.protocol.messages import (
    DownloadModel,
    FileProgress,
    FileVerified,
    Finished,
    ImportModel,
    Job,
    JobEvent,
    MergeAdapter,
    ModelStored,
    Notice,
    Progress,
    PullModel,
    VerifyModel,
    WriteInt4,
)

if TYPE_CHECKING:
    from core.training.merging import Merged

TOLD_EVERY_S = 0.1
SPIN_COUNT = "5000"  # as in the inference worker

Events = Iterator[JobEvent | None]


class _Cancelled(Exception):
    pass


def main() -> None:
    """Be the worker until the front says Shutdown or is gone."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    serve(
        {
            PullModel: pull_model,
            DownloadModel: download_model,
            ImportModel: import_,
            MergeAdapter: merge_adapter,
            VerifyModel: verify_model,
            WriteInt4: write_int4,
        }
    )


def pull_model(job: PullModel, control: JobControl) -> Events:
    from core.hub.fetching.download import Network  # here and below: Hello comes before anything heavy
    from core.hub.pull import pull

    models_folder = Path(job.models_folder)
    shelf.sweep(models_folder)
    work = pull(catalogue.find(job.name), models_folder, paths.downloads(), Network(job.proxy))
    yield from _stored(job, control, work)


def download_model(job: DownloadModel, control: JobControl) -> Events:
    from core.hub.fetching.download import Network
    from core.hub.snapshot import download

    models_folder = Path(job.models_folder)
    shelf.sweep(models_folder)
    yield from _stored(job, control, download(job, Network(job.proxy)))


def import_(job: ImportModel, control: JobControl) -> Events:
    from core.models.importing import import_model

    models_folder = Path(job.models_folder)
    shelf.sweep(models_folder)
    work = import_model(
        Path(job.source), job.name, models_folder, convert_pickle=job.convert_pickle, base=job.base, keeps=job.keeps,
        came_from=job.came_from,
    )  # fmt: skip
    yield from _stored(job, control, work)


def merge_adapter(job: MergeAdapter, control: JobControl) -> Events:
    yield Progress(job.job_id, 0, stage="loading_libraries")
    from core.training import merging

    models_folder = Path(job.models_folder)
    shelf.sweep(models_folder)
    lineage = merging.Lineage(Path(job.adapter), Path(job.base), job.adapter_name, job.base_name)
    if job.int4:
        work = merging.merge_into_int4(lineage, Path(job.out), models_folder)
    elif job.out:
        work = merging.merge_into(lineage, Path(job.out), models_folder)
    else:
        work = merging.merge(lineage, job.name, models_folder)
    told: list[Notice] = []
    yield from _stored(job, control, _folder_of(work, told), told)


def _folder_of(work: Work[Merged], told: list[Notice]) -> Work[Path]:
    merged = yield from work
    told += merged.notices
    return merged.folder


def write_int4(job: WriteInt4, control: JobControl) -> Events:
    from core.models import int4_folder

    yield from _stored(job, control, int4_folder.write_int4(Path(job.folder), Path(job.out)))


def verify_model(job: VerifyModel, control: JobControl) -> Events:
    from core.models.verification import verify

    told = _Told(job)
    with closing(verify(Path(job.folder))) as checks:
        for item in checks:
            if control.is_cancelled:
                yield Finished(job.job_id, "cancelled")
                return
            if isinstance(item, tuple):
                yield FileVerified(job.job_id, item[0].name, item[1])
            else:
                yield told.progress(item)
    yield Finished(job.job_id)


def _stored(job: Job, control: JobControl, work: Work[Path], notices: Sequence[Notice] = ()) -> Events:
    """notices: complete once the work is done"""
    try:
        folder = yield from _told(job, control, work)
    except NotADirectoryError as error:
        raise UserError("folder_is_a_file", folder=getattr(job, "models_folder", str(error.filename))) from error
    except _Cancelled:
        yield Finished(job.job_id, "cancelled")
        return
    yield ModelStored(job.job_id, str(folder), tuple(notices))
    yield Finished(job.job_id)


def _told(job: Job, control: JobControl, work: Work[T]) -> Generator[JobEvent | None, None, T]:
    """The steps of `work` as Progress, and its result."""
    told = _Told(job)
    with closing(work):
        while True:
            if control.is_cancelled:
                raise _Cancelled
            try:
                step = next(work)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            yield told.progress(step)


class _Told:
    """Turns steps into Progress, at most ten a second; the first and the last of each stage always, and of each file
    the last that was said."""

    def __init__(self, job: Job) -> None:
        self._job_id = job.job_id
        self._stage = ""
        self._due = 0.0
        self._files: dict[str, FileProgress] = {}

    def progress(self, step: Step | None) -> Progress | None:
        if step is None:
            return None
        now = time.monotonic()
        self._files |= {file.name: FileProgress(file.name, file.done, file.total) for file in step.files}
        if step.stage == self._stage and now < self._due and step.done != step.total:
            return None
        self._stage, self._due = step.stage, now + TOLD_EVERY_S
        files, self._files = tuple(self._files.values()), {}
        return Progress(self._job_id, step.done, step.total, step.stage, "bytes", step.detail, files)
