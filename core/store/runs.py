"""Training runs in short: where each lies, how far it is, and its metrics summed up.

Invariant: the truth of a run is its directory; everything here can be read again from there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.errors import UserError
from core.store.records import Run, RunMetric
from core.store.schema import RunMetricRow, RunRow, utc_now


def create(s: Session, name: str, run_dir: str, model: str, steps: int, state: str = "new") -> Run:
    row = RunRow(name=name, run_dir=run_dir, model=model, state=state, step=0, steps=steps, created=utc_now())
    s.add(row)
    s.flush()
    return _record(row)


def recent(s: Session, limit: int = 50) -> list[Run]:
    """Newest first."""
    return [_record(row) for row in s.scalars(select(RunRow).order_by(RunRow.id.desc()).limit(limit))]


def of_folder(s: Session, run_dir: str) -> Run | None:
    row = s.scalars(select(RunRow).where(RunRow.run_dir == run_dir).order_by(RunRow.id.desc())).first()
    return _record(row) if row is not None else None


def update(s: Session, run_id: int, *, state: str | None = None, step: int | None = None) -> Run:
    """Raises UserError when the run is gone."""
    row = _row(s, run_id)
    if state is not None:
        row.state = state
    if step is not None:
        row.step = step
    return _record(row)


def note_metrics(s: Session, run_id: int, step: int, values: Mapping[str, float]) -> None:
    """Take the finite values of one step into the summary. Raises UserError when the run is gone."""
    _row(s, run_id)
    for name, value in values.items():
        if not math.isfinite(value):
            continue  # SQLite has no NaN; the run's own file keeps it
        row = s.get(RunMetricRow, (run_id, name))
        if row is None:
            s.add(RunMetricRow(run_id=run_id, name=name, step=step, latest=value, lowest=value, highest=value))
            continue
        row.lowest, row.highest = min(row.lowest, value), max(row.highest, value)
        if step >= row.step:
            row.step, row.latest = step, value


def metrics(s: Session, run_id: int) -> list[RunMetric]:
    """By name."""
    rows = s.scalars(select(RunMetricRow).where(RunMetricRow.run_id == run_id).order_by(RunMetricRow.name))
    return [RunMetric(row.name, row.step, row.latest, row.lowest, row.highest) for row in rows]


def forget(s: Session, run_id: int) -> None:
    """Its directory stays. An unknown id is no error."""
    s.execute(delete(RunRow).where(RunRow.id == run_id))


def _row(s: Session, run_id: int) -> RunRow:
    row = s.get(RunRow, run_id)
    if row is None:
        raise UserError("run_gone")
    return row


def _record(row: RunRow) -> Run:
    return Run(row.id, row.name, row.run_dir, row.model, row.state, row.step, row.steps, row.created)
