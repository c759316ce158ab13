"""The door to the database: what it imports and when, its transactions, its thread, other processes beside it."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core import store as ops
from core.errors import UserError
from core.store.store import Store

LAZY = """
import sys
import core.store, core.store.records
from core import store as ops
from core.store.store import Store
from pathlib import Path
door = Store(Path(sys.argv[1]) / "workbench.db")
heavy = lambda: sorted({name.split(".")[0] for name in sys.modules} & {"sqlalchemy", "alembic"})
assert heavy() == [], heavy()
with door:
    door.run(lambda s: ops.conversations.recent(s))
print(heavy())
"""


def imports_of_a_start(home: Path) -> str:
    done = subprocess.run([sys.executable, "-c", LAZY, str(home)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_sqlalchemy_is_imported_at_the_first_call_and_alembic_only_when_the_schema_is_behind(tmp_path: Path) -> None:
    assert imports_of_a_start(tmp_path) == "['alembic', 'sqlalchemy']"
    assert imports_of_a_start(tmp_path) == "['sqlalchemy']"


async def test_calls_run_in_one_thread_that_is_not_the_loops(tmp_path: Path) -> None:
    async with Store(tmp_path / "workbench.db") as door:
        threads = await asyncio.gather(*(door.call(lambda s: threading.current_thread()) for _ in range(5)))
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()


async def test_a_call_given_up_by_its_caller_is_still_done(tmp_path: Path) -> None:
    gate = threading.Event()
    async with Store(tmp_path / "workbench.db") as door:
        waiting = asyncio.create_task(door.call(lambda s: gate.wait(10)))
        writing = asyncio.create_task(door.call(lambda s: ops.conversations.create(s, "kept")))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        gate.set()
        await waiting
        assert [c.title for c in await door.call(lambda s: ops.conversations.recent(s))] == ["kept"]


def test_a_call_that_raises_leaves_nothing_behind(store: Store) -> None:
    def half(s: object) -> None:
        ops.conversations.create(s, "half")  # type: ignore[arg-type]
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        store.run(half)
    assert store.run(lambda s: ops.conversations.recent(s)) == []


def test_the_file_is_in_wal_mode_with_foreign_keys(store: Store) -> None:
    def pragmas(s: object) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [s.connection().exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]  # type: ignore[attr-defined]

    assert store.run(pragmas) == ["wal", 1, 1, 5000]


def test_a_full_disk_is_told_in_words_and_loses_nothing(store: Store) -> None:
    store.run(lambda s: ops.conversations.create(s, "safe"))

    def fill(s: object) -> None:
        connection = s.connection()  # type: ignore[attr-defined]
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
        ops.conversations.create(s, "x" * 100_000)  # type: ignore[arg-type]

    with pytest.raises(UserError) as told:
        store.run(fill)
    assert told.value.code == "store_disk_full"
    assert "full" in str(told.value)
    assert [c.title for c in store.run(lambda s: ops.conversations.recent(s))] == ["safe"]


def test_a_read_only_file_is_told_in_words(store: Store) -> None:
    store.run(lambda s: s.connection().exec_driver_sql("PRAGMA query_only = ON"))
    with pytest.raises(UserError) as told:
        store.run(lambda s: ops.conversations.create(s))
    assert told.value.code == "store_read_only"


def test_a_place_that_cannot_hold_a_file_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with Store(tmp_path / "file" / "workbench.db") as door, pytest.raises(UserError) as told:
        door.run(lambda s: ops.conversations.recent(s))
    assert told.value.code == "store_cannot_open"
    (tmp_path / "folder.db").mkdir()
    with Store(tmp_path / "folder.db") as door, pytest.raises(UserError) as told:
        door.run(lambda s: ops.conversations.recent(s))
    assert told.value.code == "store_cannot_open"


def test_a_writer_that_does_not_let_go_is_told_in_words(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.store.engine.BUSY_S", 0.05)
    store.run(lambda s: ops.conversations.create(s))
    other = sqlite3.connect(tmp_path / "workbench.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError) as told:
        store.run(lambda s: ops.conversations.create(s))
    other.execute("ROLLBACK")
    other.close()
    assert told.value.code == "store_busy"
    store.run(lambda s: ops.conversations.create(s))


BESIDE = """
import sys
from pathlib import Path
from core import store as ops
from core.store.store import Store
with Store(Path(sys.argv[1]), Path(sys.argv[1]).parent / "backups") as door:
    for i in range(40):
        found = door.run(lambda s: (ops.conversations.recent(s, 1), ops.conversations.create(s, f"{sys.argv[2]} {i}")))
"""


def test_several_processes_start_on_a_new_file_and_write_at_once(tmp_path: Path) -> None:
    file = tmp_path / "workbench.db"
    fronts = [
        subprocess.Popen([sys.executable, "-c", BESIDE, str(file), str(n)], stderr=subprocess.PIPE) for n in range(3)
    ]
    for front in fronts:
        _, told = front.communicate(timeout=90)
        assert front.returncode == 0, told.decode()
    with Store(file) as door:
        assert len(door.run(lambda s: ops.conversations.recent(s, 1000))) == 120
