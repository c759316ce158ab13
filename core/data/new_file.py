"""A new file that is there whole or not at all.

Invariant: nothing that was there is overwritten, and a kill at any moment leaves no half file under the name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

from core.errors import UserError


@contextmanager
def new_file(target: Path) -> Iterator[IO[bytes]]:
    """Written beside the target and moved there at the end of the block.

    Raises:
        UserError: data_target_exists, data_not_written.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if os.path.lexists(target):
            raise UserError("data_target_exists", file=str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _publish(part, target)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise UserError("data_not_written", file=str(target), reason=reason) from error
    finally:
        _forget(part)


def _publish(part: Path, target: Path) -> None:
    try:
        os.link(part, target)  # unlike a rename it never replaces a file that came meanwhile
    except FileExistsError:
        raise UserError("data_target_exists", file=str(target)) from None
    except OSError:  # a file system without links
        part.rename(target)


def _forget(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except (OSError, ValueError):  # what is left is swept with the next file of this name
        pass


def _sweep(target: Path) -> None:
    """What a process that was killed has left."""
    for name in os.listdir(target.parent):
        process = name.removeprefix(f".{target.name}.").removesuffix(".part")
        if name == f".{target.name}.{process}.part" and process.isdigit() and not psutil.pid_exists(int(process)):
            _forget(target.with_name(name))
