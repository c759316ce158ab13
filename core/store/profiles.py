"""Tables that were measured, and the results of their cells.

Invariant: a result that was put here stays, whatever becomes of its table; a table whose front has died is told as
interrupted, and only one front is at it, so no other one begins, takes or deletes anything under its hands. Timelines
are large and lie apart from the results.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.errors import UserError
from core.profiling.plan import ProfilePlan, cells_of
from core.profiling.result import CellResult
from core.profiling.timeline import MemoryTimeline
from core.store import owner
from core.store.records import ProfileRun, ProfileState
from core.store.schema import ProfileCellRow, ProfileRunRow, utc_now

NOTHING = MemoryTimeline()
LOST = ("failed", "out_of_memory")


def create(s: Session, name: str, plan: ProfilePlan, device: str) -> ProfileRun:
    """A table that this process measures.

    Raises:
        UserError: profile_busy_elsewhere.
    """
    need_quiet(s)
    pid, started = owner.here()
    row = ProfileRunRow(
        name=name, plan=plan, state="running", cells=len(cells_of(plan)), device=device, created=utc_now(), ended=None,
        owner_pid=pid, owner_started=started,
    )  # fmt: skip
    s.add(row)
    s.flush()
    return _record(s, row)


def recent(s: Session, limit: int = 100) -> list[ProfileRun]:
    """Newest first."""
    rows = s.scalars(select(ProfileRunRow).order_by(ProfileRunRow.id.desc()).limit(limit))
    return [_record(s, row) for row in rows]


def get(s: Session, run_id: int) -> ProfileRun:
    """Raises UserError profile_gone."""
    return _record(s, _row(s, run_id))


def take(s: Session, run_id: int, *, failed_too: bool = False) -> ProfileRun:
    """Go on with a table; it is this process's from now on. failed_too: also where every cell has a result, but one
    of them has no figures

    Raises:
        UserError: profile_gone, profile_done, profile_elsewhere, profile_busy_elsewhere.
    """
    row = _row(s, run_id)
    has_lost = failed_too and any(result.state != "done" for result in results(s, run_id))
    if row.state == "done" and not has_lost:
        raise UserError("profile_done", run=run_id)
    _need_free(row)
    need_quiet(s)
    pid, started = owner.here()
    row.state, row.ended, row.owner_pid, row.owner_started = "running", None, pid, started
    return _record(s, row)


def end(s: Session, run_id: int, state: ProfileState) -> ProfileRun:
    row = _row(s, run_id)
    row.state, row.ended, row.owner_pid, row.owner_started = state, utc_now(), None, None
    return _record(s, row)


def rename(s: Session, run_id: int, name: str) -> ProfileRun:
    row = _row(s, run_id)
    row.name = name
    return _record(s, row)


def put(s: Session, run_id: int, result: CellResult) -> None:
    """In place of what the cell had. Raises UserError when the table is gone."""
    _row(s, run_id)
    kept = msgspec.structs.replace(result, timeline=NOTHING)
    s.merge(ProfileCellRow(run_id=run_id, key=result.cell.key, result=kept, timeline=result.timeline))


def results(s: Session, run_id: int) -> list[CellResult]:
    """In the order of the table, without timelines."""
    row = _row(s, run_id)
    rows = s.execute(select(ProfileCellRow.key, ProfileCellRow.result).where(ProfileCellRow.run_id == run_id))
    found = {key: result for key, result in rows}
    return [found[cell.key] for cell in cells_of(row.plan) if cell.key in found]


def timeline(s: Session, run_id: int, key: str) -> MemoryTimeline:
    row = s.get(ProfileCellRow, (run_id, key))
    return row.timeline if row is not None else NOTHING


def need_quiet(s: Session) -> None:
    """Two tables at once would spoil the figures of both. Raises UserError profile_busy_elsewhere."""
    for row in s.scalars(select(ProfileRunRow).where(ProfileRunRow.state == "running")):
        if _is_anothers(row):
            raise UserError("profile_busy_elsewhere", run=row.id)


def forget(s: Session, run_id: int) -> None:
    """An unknown id is no error. Raises UserError profile_elsewhere: another front is measuring it."""
    row = s.get(ProfileRunRow, run_id)
    if row is not None:
        _need_free(row)
    s.execute(delete(ProfileRunRow).where(ProfileRunRow.id == run_id))


def restore(s: Session, run: ProfileRun, results_: Sequence[CellResult]) -> None:
    """A table that was forgotten, under the number it had. results_: with their timelines"""
    s.add(
        ProfileRunRow(
            id=run.id, name=run.name, plan=run.plan, state=run.state, cells=run.cells, device=run.device,
            created=run.created, ended=run.ended, owner_pid=None, owner_started=None,
        )
    )  # fmt: skip
    s.flush()
    for result in results_:
        put(s, run.id, result)


def _row(s: Session, run_id: int) -> ProfileRunRow:
    row = s.get(ProfileRunRow, run_id)
    if row is None:
        raise UserError("profile_gone", run=run_id)
    return row


def _need_free(row: ProfileRunRow) -> None:
    if row.state == "running" and _is_anothers(row):
        raise UserError("profile_elsewhere", run=row.id)


def _is_anothers(row: ProfileRunRow) -> bool:
    return (row.owner_pid, row.owner_started) != owner.here() and _is_at_work(row)


def _is_at_work(row: ProfileRunRow) -> bool:
    return owner.is_alive(row.owner_pid, row.owner_started)


def _record(s: Session, row: ProfileRunRow) -> ProfileRun:
    kind = func.json_extract(ProfileCellRow.result, "$.state")
    counts = select(kind, func.count()).where(ProfileCellRow.run_id == row.id).group_by(kind)
    by_state = {found: count for found, count in s.execute(counts)}
    state: ProfileState = "interrupted" if row.state == "running" and not _is_at_work(row) else row.state
    return ProfileRun(
        row.id, row.name, row.plan, state, row.cells, by_state.get("done", 0), row.device, row.created, row.ended,
        sum(by_state.get(one, 0) for one in LOST),
    )  # fmt: skip
