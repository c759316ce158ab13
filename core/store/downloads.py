"""The queue of downloads: in order, with how far each was when it was last saved.

Invariant: a download that has not ended stays here whatever happens to the program. The bytes themselves lie in the
models folder; the figures here are for showing before a worker has looked.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.errors import Param
from core.sources import Source
from core.store.records import Download, DownloadState
from core.store.schema import DownloadRow, utc_now

ENDED: tuple[DownloadState, ...] = ("done", "cancelled")


def add(
    s: Session,
    name: str,
    sources: tuple[Source, ...],
    models_folder: str,
    *,
    file: str = "",
    base: str = "",
    convert_pickle: bool = False,
    total_bytes: int = 0,
    state: DownloadState = "waiting",
) -> Download:
    """At the end of the queue."""
    last = s.scalar(select(func.max(DownloadRow.place))) or 0
    row = DownloadRow(
        name=name, sources=sources, models_folder=models_folder, file=file, base=base, convert_pickle=convert_pickle,
        state=state, place=last + 1, done_bytes=0, total_bytes=total_bytes, error_code="", error_params=None,
        created=utc_now(), ended=None,
    )  # fmt: skip
    s.add(row)
    s.flush()
    return _record(row)


def all_(s: Session) -> list[Download]:
    """In the order of the queue; those that have ended too."""
    return [_record(row) for row in s.scalars(select(DownloadRow).order_by(DownloadRow.place, DownloadRow.id))]


def note_state(
    s: Session, download_id: int, state: DownloadState, code: str = "", params: Mapping[str, Param] | None = None
) -> None:
    """An unknown id is no error."""
    if row := s.get(DownloadRow, download_id):
        row.state, row.error_code, row.error_params = state, code, dict(params) if params else None
        row.ended = utc_now() if state in ENDED else None


def note_progress(s: Session, download_id: int, done_bytes: int, total_bytes: int) -> None:
    """An unknown id is no error."""
    if row := s.get(DownloadRow, download_id):
        row.done_bytes, row.total_bytes = done_bytes, total_bytes


def order(s: Session, ids: list[int]) -> None:
    """The queue in this order; unknown ids are left out."""
    for place, download_id in enumerate(ids, 1):
        if row := s.get(DownloadRow, download_id):
            row.place = place


def forget(s: Session, ids: list[int]) -> None:
    """Unknown ids are no error."""
    s.execute(delete(DownloadRow).where(DownloadRow.id.in_(ids)))


def _record(row: DownloadRow) -> Download:
    return Download(
        row.id, row.name, row.sources, row.models_folder, row.file, row.base, row.convert_pickle, row.state,
        row.done_bytes, row.total_bytes, row.error_code, row.error_params or {}, row.created, row.ended,
    )  # fmt: skip
