"""The models folder: how a new model is built beside the others and takes its place among them.

A model is built in `.incoming-<id>`, whose lock file its builder holds, and then renamed. Invariant: a folder without
that prefix is a whole model or not ours; what a killed builder left behind is recognised by its free lock and removed.
"""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from core.errors import UserError
from core.models import manifest
from core.models.manifest import Manifest
from core.models.space import disk_errors

INCOMING = ".incoming-"
LOCK_SUFFIX = ".lock"
LONGEST_NAME = 80
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def safe_name(wished: str) -> str:
    """`wished` as a folder name that every system takes: letters, digits, `.`, `_` and `-`.

    Raises:
        UserError: name_unusable, when nothing is left of it.
    """
    plain = unicodedata.normalize("NFC", wished)
    name = re.sub(r"[^\w.-]+", "-", plain).strip(".-_")[:LONGEST_NAME].rstrip(".-_")
    if not name:
        raise UserError("name_unusable", name=wished)
    return f"{name}-model" if name.lower().split(".")[0] in _RESERVED else name


def need_free_name(models_folder: Path, name: str) -> None:
    """Also refuses a name that differs only in case: some file systems hold one of the two.

    Raises:
        UserError: name_taken.
    """
    with disk_errors(models_folder, 0):
        taken = {entry.name.lower() for entry in models_folder.iterdir()} if models_folder.exists() else set()
    if name.lower() in taken:
        raise UserError("name_taken", name=name)


@contextmanager
def incoming(models_folder: Path) -> Iterator[Path]:
    """An empty folder to build a model in. What is still there at the end is removed."""
    from filelock import FileLock

    with disk_errors(models_folder, 0):
        models_folder.mkdir(parents=True, exist_ok=True)
    folder = models_folder / f"{INCOMING}{uuid.uuid4().hex}"
    lock_file = folder.with_name(folder.name + LOCK_SUFFIX)
    with FileLock(lock_file, timeout=0):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock_file.unlink(missing_ok=True)


def put_in_place(folder: Path, models_folder: Path, facts: Manifest) -> Path:
    """Write the manifest last, then give the model its name. Returns its folder.

    Raises:
        UserError: name_taken, when somebody took the name meanwhile.
    """
    for file in folder.iterdir():
        to_disk(file)
    manifest.write(folder, facts)
    place = models_folder / facts.name
    need_free_name(models_folder, facts.name)
    folder.rename(place)
    to_disk(models_folder)
    return place


def now() -> str:
    """For `Manifest.added`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def sweep(models_folder: Path) -> None:
    """Remove what killed builders left behind. Safe beside running ones."""
    from filelock import FileLock, Timeout  # the window lists models without it

    if not models_folder.exists():
        return
    for folder in models_folder.glob(f"{INCOMING}*"):
        lock_file = folder if folder.name.endswith(LOCK_SUFFIX) else folder.with_name(folder.name + LOCK_SUFFIX)
        try:
            with FileLock(lock_file, timeout=0):
                shutil.rmtree(lock_file.with_suffix(""), ignore_errors=True)
                lock_file.unlink(missing_ok=True)
        except Timeout:
            continue


def to_disk(path: Path) -> None:
    """A rename must not reach the disk before what it names. Folders cannot be opened for this on Windows."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
