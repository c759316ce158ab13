"""SHA-256 of files, in steps. Invariant: a file is read once, in pieces, and never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from core.models.manifest import FileRecord
from core.models.steps import Step, Work

CHUNK_BYTES = 4 * 1024 * 1024


def sha256(file: Path, done: int = 0, total: int | None = None) -> Work[str]:
    """The hash as hexadecimal digits. `done` and `total` place this file in a larger piece of work."""
    digest = hashlib.sha256()
    total = total if total is not None else file.stat().st_size
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            yield Step("checking", done, total, file.name)
    return digest.hexdigest()


def records(folder: Path, names: Sequence[str]) -> Work[tuple[FileRecord, ...]]:
    """Size and hash of each file, named relative to `folder`."""
    sizes = {name: (folder / name).stat().st_size for name in names}
    total, done = sum(sizes.values()), 0
    found: list[FileRecord] = []
    for name, size in sizes.items():
        digest = yield from sha256(folder / name, done, total)
        found.append(FileRecord(name, size, digest))
        done += size
    return tuple(found)
