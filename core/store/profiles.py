"""Tables that were measured, and the results of their cells.

Invariant: a result that was put here stays, whatever becomes of its table; a table whose front has died is told as
interrupted, and only one front is at it. Timelines are large and lie apart from the results.
"""

from __future__ import annotations

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


def create(s: Session, name: str, plan: ProfilePlan, device: str) -> ProfileRun:
    """A table that this process measures."""
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


def take(s: Session, run_id: int) -> ProfileRun:
    """Go on with a table; it is this process's from now on.

    Raises:
        UserError: profile_gone, profile_done, profile_elsewhere.
    """
    row = _row(s, run_id)
    if row.state == "done":
        raise UserError("profile_done", run=run_id)
    pid, started = owner.here()
    if row.state == "running" and (row.owner_pid, row.owner_started) != (pid, started) and _is_at_work(row):
        raise UserError("profile_elsewhere", run=run_id)
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


def forget(s: Session, run_id: int) -> None:
    """An unknown id is no error."""
    s.execute(delete(ProfileRunRow).where(ProfileRunRow.id == run_id))


def _row(s: Session, run_id: int) -> ProfileRunRow:
    row = s.get(ProfileRunRow, run_id)
    if row is None:
        raise UserError("profile_gone", run=run_id)
    return row


def _is_at_work(row: ProfileRunRow) -> bool:
    return owner.is_alive(row.owner_pid, row.owner_started)


def _record(s: Session, row: ProfileRunRow) -> ProfileRun:
    count = select(func.count()).select_from(ProfileCellRow).where(ProfileCellRow.run_id == row.id)
    state: ProfileState = "interrupted" if row.state == "running" and not _is_at_work(row) else row.state
    return ProfileRun(
        row.id, row.name, row.plan, state, row.cells, s.scalar(count) or 0, row.device, row.created, row.ended
    )
