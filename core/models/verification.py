"""Compares the files of a model with what its manifest recorded.

Invariant: every recorded file gets exactly one answer, also one that is missing or of another length.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from msgspec import DecodeError

from core.errors import UserError
from core.models import manifest
from core.models.checksums import sha256
from core.models.manifest import FileRecord
from core.models.steps import Step, Work


def verify(folder: Path) -> Generator[Step | tuple[FileRecord, bool] | None, None, None]:
    """Steps, and for each file (its record, whether it is intact). `folder` is the model's own in the library.

    Raises:
        UserError: model_unreadable.
    """
    try:
        facts = manifest.read(folder)
    except (OSError, DecodeError):
        raise UserError("model_unreadable", folder=str(folder)) from None
    place = manifest.files_folder(folder, facts)
    done = 0
    for record in facts.files:
        intact = yield from _is_intact(place / record.name, record, done, facts.size_bytes)
        yield record, intact
        done += record.size_bytes


def _is_intact(file: Path, record: FileRecord, done: int, total: int) -> Work[bool]:
    if not file.is_file() or file.stat().st_size != record.size_bytes:
        return False
    return (yield from sha256(file, done, total)) == record.sha256
