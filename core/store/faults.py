"""Sorts the errors of SQLite: the user's world (disk full, file damaged) in words, everything else is our bug.

Invariant: an error that is not listed here passes through unchanged.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from core.errors import UserError

_WORDS = {
    sqlite3.SQLITE_BUSY: "store_busy",
    sqlite3.SQLITE_LOCKED: "store_busy",
    sqlite3.SQLITE_FULL: "store_disk_full",
    sqlite3.SQLITE_READONLY: "store_read_only",
    sqlite3.SQLITE_PERM: "store_read_only",
    sqlite3.SQLITE_CANTOPEN: "store_cannot_open",
    sqlite3.SQLITE_IOERR: "store_disk_trouble",
    sqlite3.SQLITE_CORRUPT: "store_damaged",
    sqlite3.SQLITE_NOTADB: "store_damaged",
}


@contextlib.contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turns a known error of the database at `path` into a UserError."""
    try:
        yield
    except DBAPIError as error:
        if code := known(error.orig):
            raise UserError(code, file=str(path)) from error
        raise
    except sqlite3.Error as error:
        if code := known(error):
            raise UserError(code, file=str(path)) from error
        raise


def known(error: BaseException | None) -> str:
    """The code of the sentence for an error of the user's world, "" for a bug of ours."""
    number = getattr(error, "sqlite_errorcode", None)
    return _WORDS.get(number & 0xFF, "") if isinstance(number, int) else ""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself cannot be read as a database."""
    return known(error) == "store_damaged"
