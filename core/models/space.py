"""Room on the disk, asked for before work begins and named when it runs out.

Invariant: an error about room always says how much is needed and how much is free.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core import figures
from core.errors import UserError

RESERVE_BYTES = 50_000_000  # what the system and the database need to go on
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def free_bytes(folder: Path) -> int:
    """Free on the disk where `folder` is, or will be made."""
    return _usage(folder).free


def _usage(folder: Path) -> shutil._ntuple_diskusage:
    while not folder.is_dir():
        folder = folder.parent
    return shutil.disk_usage(folder)


def need_space(folder: Path, needed_bytes: int) -> None:
    """
    Raises:
        UserError: disk_full.
    """
    usage = _usage(folder)
    if usage.total and usage.free < needed_bytes + RESERVE_BYTES:  # else it is no disk, and writing tells what it is
        raise _full(folder, needed_bytes)


def need_reserve(folder: Path, needed_bytes: int) -> None:
    """For work under way that still needs so much: it ends before the disk is full to the last byte.

    Raises:
        UserError: disk_full.
    """
    if free_bytes(folder) < RESERVE_BYTES:
        raise _full(folder, needed_bytes)


@contextmanager
def disk_errors(folder: Path, needed_bytes: int) -> Iterator[None]:
    """Say what the system's refusals to write into `folder` mean."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _full(folder, needed_bytes) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError("folder_read_only", folder=str(_known(folder))) from error
        if error.errno == errno.ENOTDIR or (error.errno == errno.EEXIST and _known(folder).is_file()):
            raise UserError("folder_is_a_file", folder=str(_known(folder))) from error
        if error.errno == errno.ENOENT and not _known(folder).exists():
            raise UserError("folder_not_made", folder=str(_known(folder))) from error
        raise


def _full(folder: Path, needed_bytes: int) -> UserError:
    needed, free = figures.size(needed_bytes + RESERVE_BYTES), figures.size(free_bytes(folder))
    return UserError("disk_full", folder=str(_known(folder)), needed=needed, free=free)


def _known(folder: Path) -> Path:
    """The folder that people know: work under way lies in hidden ones below it."""
    hidden = [place for place, part in enumerate(folder.parts) if part.startswith((".downloading", ".incoming"))]
    return Path(*folder.parts[: hidden[0]]) if hidden else folder
