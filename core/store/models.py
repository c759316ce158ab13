"""The models the program knows by name; their facts stand in the manifest in each folder.

Invariant: forgetting a model touches no file of it.
"""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.store.records import MeasuredMemory, StoredModel
from core.store.schema import ModelRow, utc_now


def remember(s: Session, name: str, folder: str) -> StoredModel:
    """Add the model, or note its new folder."""
    row = s.get(ModelRow, name) or ModelRow(name=name, last_used=None, measured=None)
    row.folder = folder
    s.add(row)
    return _record(row)


def known(s: Session) -> list[StoredModel]:
    """The last used first, the never used at the end by name."""
    return [_record(row) for row in s.scalars(select(ModelRow).order_by(ModelRow.last_used.desc(), ModelRow.name))]


def forget(s: Session, name: str) -> None:
    """An unknown name is no error."""
    s.execute(delete(ModelRow).where(ModelRow.name == name))


def note_use(s: Session, name: str) -> None:
    """It is in use now. An unknown name is no error."""
    if row := s.get(ModelRow, name):
        row.last_used = utc_now()


def note_memory(s: Session, name: str, measured: MeasuredMemory) -> None:
    """What it took just now. Of measurements with the same weights and KV cache the largest stays. An unknown name is
    no error."""
    row = s.get(ModelRow, name)
    if row is None:
        return
    old = row.measured
    is_same = old is not None and (old.weights, old.kv_cache, old.device) == (
        measured.weights, measured.kv_cache, measured.device,
    )  # fmt: skip
    if old is None or not is_same or measured.bytes >= old.bytes:
        row.measured = measured


def _record(row: ModelRow) -> StoredModel:
    return StoredModel(row.name, row.folder, row.last_used, row.measured)
