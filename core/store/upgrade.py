"""Brings the file at a path to the schema of this program: made, upgraded with a copy kept, or refused in words.

Invariant: a file is copied before it is changed, a file from a newer version is not touched, a damaged one is moved
aside and never deleted. Alembic is imported only when there is something to do, since that costs 0.3 s.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.errors import UserError
from core.store import faults

log = logging.getLogger("store")


@dataclass(frozen=True, slots=True)
class Plan:
    """The migrations in `folder`; `revisions` are theirs, oldest first (a test holds them to the files)."""

    folder: Path
    revisions: tuple[str, ...]

    @property
    def head(self) -> str:
        return self.revisions[-1]


OURS = Plan(Path(__file__).parent / "migrations", ("0001", "0002", "0003"))


def make_ready(path: Path, backups: Path, plan: Plan = OURS) -> None:
    """Returns when the file at `path` has the schema `plan` ends in.

    Raises:
        UserError: it is damaged, from a newer version or not ours.
        sqlite3.Error, OSError: the disk is full, the place cannot be written ...
    """
    try:
        revision = _revision(path)
    except sqlite3.DatabaseError as error:
        if faults.is_damage(error):
            raise UserError("store_set_aside", kept=str(set_aside(path)), backups=str(backups)) from error
        raise
    if revision == plan.head:
        return
    if revision and revision not in plan.revisions:
        raise UserError("store_newer", file=str(path))
    if revision:
        copy = back_up(path, backups, revision)
        log.info("schema %s goes to %s; the old file is kept as %s", revision, plan.head, copy.name)
    _migrate(path, plan)


def _revision(path: Path) -> str:
    """The revision of the file, "" when it is new. Reads only: a newer version's file stays byte for byte."""
    if not path.exists() or path.stat().st_size == 0:
        return ""
    if not path.is_file():
        raise UserError("store_cannot_open", file=str(path))
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as reader:
        tables = {name for (name,) in reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" not in tables:
            if tables:
                raise UserError("store_not_ours", file=str(path))
            return ""
        row = reader.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row else ""


def set_aside(path: Path) -> Path:
    """Rename a damaged file and what belongs to it; the log first, so that a kill in between loses nothing."""
    kept = path.with_name(f"{path.stem}-damaged-{_now()}{path.suffix}")
    for tail in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + tail).rename(kept.with_name(kept.name + tail))
    log.info("the damaged database is kept as %s", kept.name)
    return kept


def back_up(path: Path, backups: Path, revision: str) -> Path:
    """A whole copy of the database in `backups`, also while others write to it."""
    backups.mkdir(parents=True, exist_ok=True)
    copy = backups / f"{path.stem}-{revision}-{_now()}{path.suffix}"
    part = copy.with_suffix(".part")
    try:
        with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(part)) as target:
            source.backup(target)
        part.replace(copy)
    finally:
        part.unlink(missing_ok=True)
    return copy


def _now() -> str:
    return datetime.now().strftime("%Y%m%d-%H%M%S-%f")


def _migrate(path: Path, plan: Plan) -> None:
    """All steps in one transaction. Foreign keys are off, since rebuilding a table drops it; they are checked after."""
    from alembic import command
    from alembic.config import Config

    from core.store.engine import engine_for

    config = Config()
    config.set_main_option("script_location", str(plan.folder).replace("%", "%%"))
    engine = engine_for(path, foreign_keys=False)
    try:
        with engine.begin() as connection, _quiet_alembic():
            config.attributes["connection"] = connection
            command.upgrade(config, plan.head)
            if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise RuntimeError(f"the migration to {plan.head} breaks a foreign key: {broken}")
    finally:
        engine.dispose()


@contextlib.contextmanager
def _quiet_alembic() -> Iterator[None]:
    logger = logging.getLogger("alembic")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
