"""One connection to the database, with its pragmas.

Invariant: every transaction takes the write lock when it begins. A transaction that read first and wrote later would
fail at once, without waiting, when the command line beside us wrote in between (SQLITE_BUSY_SNAPSHOT).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from core.errors import UserError
from core.store import upgrade

BUSY_S = 5.0


def opened(path: Path, backups: Path) -> Engine:
    """The engine for `path`, its schema up to date.

    Raises:
        UserError, sqlite3.Error, sqlalchemy.exc.DBAPIError
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        upgrade.make_ready(path, backups)
    except OSError as error:
        raise UserError("store_cannot_open", file=str(path)) from error
    return engine_for(path)


def engine_for(path: Path, *, foreign_keys: bool = True) -> Engine:
    """An engine with a single connection; `foreign_keys` is off only while tables are rebuilt."""
    engine = create_engine(
        "sqlite://", creator=lambda: connect(path, foreign_keys=foreign_keys), poolclass=StaticPool, echo=False
    )
    event.listen(engine, "begin", _begin)
    return engine


def connect(path: Path, *, foreign_keys: bool = True) -> sqlite3.Connection:
    """A connection whose transactions are ours to begin."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"foreign_keys={'ON' if foreign_keys else 'OFF'}"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
