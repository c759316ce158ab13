"""From any file at the path to the schema of this program, or to a sentence that says why not."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core import store as ops
from core.errors import UserError
from core.store import upgrade
from core.store.store import Store

NEXT_STEP = """
import sqlalchemy as sa
from alembic import op
revision = "0099"
down_revision = "{before}"
def upgrade():
    with op.batch_alter_table("conversations") as table:
        table.add_column(sa.Column("colour", sa.Text, nullable=False, server_default="blue"))
        table.alter_column("preset", nullable=True)
    {then}
"""


def next_plan(folder: Path, then: str = "") -> upgrade.Plan:
    """Our migrations and one more, which makes the table of conversations anew."""
    shutil.copytree(upgrade.OURS.folder, folder)
    (folder / "versions" / "m0099_next.py").write_text(NEXT_STEP.format(then=then, before=upgrade.OURS.head))
    return upgrade.Plan(folder, (*upgrade.OURS.revisions, "0099"))


def filled(place: Path) -> Path:
    """A database of today with one question in it."""
    with Store(place / "workbench.db", place / "backups") as store:
        made = store.run(lambda s: ops.conversations.create(s))
        store.run(lambda s: ops.messages.append(s, made.id, "user", "what is 注意力?", parent_id=None))
    return place / "workbench.db"


def ask(file: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as reader:
        return reader.execute(query).fetchall()


def test_the_revisions_named_in_the_program_are_those_of_the_files() -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(upgrade.OURS.folder))
    assert tuple(reversed([step.revision for step in script.walk_revisions()])) == upgrade.OURS.revisions
    assert script.get_current_head() == upgrade.OURS.head


def test_a_blank_file_is_migrated_to_the_tables_of_the_orm(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from core.store.schema import Row

    def differences(s: object) -> list[object]:
        def ours(name: str | None, kind: str, _: object) -> bool:
            return kind != "table" or "_search" not in str(name)

        options = {"include_name": ours, "compare_type": True}
        context = MigrationContext.configure(s.connection(), opts=options)  # type: ignore[attr-defined]
        return compare_metadata(context, Row.metadata)

    assert store.run(differences) == []


def test_an_older_file_is_copied_and_upgraded_with_its_rows(tmp_path: Path) -> None:
    file = filled(tmp_path)
    upgrade.make_ready(file, tmp_path / "backups", next_plan(tmp_path / "plan"))

    assert ask(file, "SELECT title, colour FROM conversations") == [("what is 注意力?", "blue")]
    assert ask(file, "SELECT text FROM messages") == [("what is 注意力?",)]
    assert ask(file, "SELECT version_num FROM alembic_version") == [("0099",)]
    (copy,) = (tmp_path / "backups").iterdir()
    assert copy.name.startswith(f"workbench-{upgrade.OURS.head}-")
    assert ask(copy, "SELECT version_num FROM alembic_version") == [(upgrade.OURS.head,)]
    assert ask(copy, "SELECT title FROM conversations") == [("what is 注意力?",)]


def test_the_first_schema_is_brought_here_with_its_models(tmp_path: Path) -> None:
    file = tmp_path / "workbench.db"
    upgrade.make_ready(file, tmp_path / "backups", upgrade.Plan(upgrade.OURS.folder, ("0001",)))
    with closing(sqlite3.connect(file)) as old:
        old.execute("INSERT INTO models (name, folder, last_used) VALUES ('starter', '/models/starter', NULL)")
        old.commit()
    with Store(file, tmp_path / "backups") as store:
        (kept,) = store.run(lambda s: ops.models.known(s))
        assert (kept.name, kept.measured) == ("starter", None)
        assert store.run(lambda s: ops.downloads.all_(s)) == []


def test_the_schema_before_profiles_is_brought_here_with_its_downloads(tmp_path: Path) -> None:
    file = tmp_path / "workbench.db"
    upgrade.make_ready(file, tmp_path / "backups", upgrade.Plan(upgrade.OURS.folder, ("0001", "0002")))
    with closing(sqlite3.connect(file)) as old:
        old.execute(
            "INSERT INTO downloads (name, sources, models_folder, file, base, convert_pickle, state, place, done_bytes,"
            " total_bytes, error_code, created) VALUES ('starter', '[]', '/models', '', '', 0, 'done', 1, 9, 9, '', 0)"
        )
        old.commit()
    with Store(file, tmp_path / "backups") as store:
        (kept,) = store.run(lambda s: ops.downloads.all_(s))
        assert (kept.name, kept.state, kept.done_bytes) == ("starter", "done", 9)
        assert store.run(lambda s: ops.profiles.recent(s)) == []


def test_a_migration_that_fails_half_way_changes_nothing(tmp_path: Path) -> None:
    file = filled(tmp_path)
    before = ask(file, "SELECT sql FROM sqlite_master")
    plan = next_plan(tmp_path / "plan", then="raise RuntimeError('half way')")
    with pytest.raises(RuntimeError, match="half way"):
        upgrade.make_ready(file, tmp_path / "backups", plan)
    assert ask(file, "SELECT sql FROM sqlite_master") == before
    with Store(file, tmp_path / "backups") as store:
        assert len(store.run(lambda s: ops.conversations.recent(s))) == 1


def test_a_migration_that_breaks_a_foreign_key_is_taken_back(tmp_path: Path) -> None:
    file = filled(tmp_path)
    plan = next_plan(tmp_path / "plan", then="op.execute('DELETE FROM conversations')")
    with pytest.raises(RuntimeError, match="foreign key"):
        upgrade.make_ready(file, tmp_path / "backups", plan)
    assert ask(file, "SELECT count(*) FROM conversations") == [(1,)]


def test_a_file_from_a_newer_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    file = filled(tmp_path)
    upgrade.make_ready(file, tmp_path / "backups", next_plan(tmp_path / "plan"))
    before = file.read_bytes()
    with Store(file, tmp_path / "other") as store, pytest.raises(UserError) as told:
        store.run(lambda s: ops.conversations.recent(s))
    assert told.value.code == "store_newer"
    assert "newer version" in str(told.value)
    assert file.read_bytes() == before
    assert not (tmp_path / "other").exists()


def test_a_database_of_another_program_is_refused_and_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "workbench.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    before = file.read_bytes()
    with Store(file) as store, pytest.raises(UserError) as told:
        store.run(lambda s: ops.conversations.recent(s))
    assert told.value.code == "store_not_ours"
    assert file.read_bytes() == before


@pytest.mark.parametrize("damage", ["no database at all", "pages overwritten"])
def test_a_damaged_file_is_kept_aside_and_the_next_call_works(tmp_path: Path, damage: str) -> None:
    file = filled(tmp_path)
    data = file.read_bytes()
    file.write_bytes(b"not a database " * 500 if "no database" in damage else data[:100] + b"\xff" * (len(data) - 100))
    broken = file.read_bytes()

    with Store(file, tmp_path / "backups") as store:
        with pytest.raises(UserError) as told:
            store.run(lambda s: ops.conversations.recent(s))
        assert told.value.code == "store_set_aside"
        kept = Path(str(told.value.params["kept"]))
        assert kept.read_bytes() == broken
        assert kept.name in str(told.value)
        assert store.run(lambda s: ops.conversations.recent(s)) == []


def test_damage_found_later_is_told_in_words(tmp_path: Path) -> None:
    file = filled(tmp_path)
    with Store(file, tmp_path / "backups") as store:
        store.run(lambda s: s.connection().exec_driver_sql("PRAGMA cache_size = 0"))
        with file.open("r+b") as raw:
            raw.seek(4096)
            raw.write(b"\xff" * (file.stat().st_size - 4096))
        with pytest.raises(UserError) as told:
            store.run(lambda s: ops.search.everything(s, "what"))
    assert told.value.code == "store_damaged"
