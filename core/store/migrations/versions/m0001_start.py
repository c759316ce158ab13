"""The first schema: conversations and their message trees, full-text search, runs, models.

A landed migration is never edited; the schema changes by a new one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _conversations()
    _messages()
    _search()
    _runs_and_models()


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("is_named", sa.Boolean, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("system_prompt", sa.Text, nullable=False),
        sa.Column("sampling", sa.Text, nullable=False),
        sa.Column("preset", sa.Text, nullable=False),
        sa.Column("thinking", sa.Boolean, nullable=True),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("leaf_id", sa.Integer, nullable=True),
        sa.Column("draft", sa.Text, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("updated", sa.Integer, nullable=False),
        sa.Column("deleted", sa.Integer, nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("conversations_in_order", "conversations", ["pinned", "updated"])


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("conversation_id", sa.Integer, sa.ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
        sa.Column("parent_id", sa.Integer, sa.ForeignKey("messages.id", ondelete="CASCADE"), nullable=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("thinking", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("figures", sa.Text, nullable=True),
        sa.Column("error_code", sa.Text, nullable=False),
        sa.Column("error_params", sa.Text, nullable=True),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("owner_pid", sa.Integer, nullable=True),
        sa.Column("owner_started", sa.Float, nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("messages_of_conversation", "messages", ["conversation_id", "parent_id"])
    op.create_index("messages_by_parent", "messages", ["parent_id"])
    op.create_index("messages_streaming", "messages", ["state"], sqlite_where=sa.text("state = 'streaming'"))


def _search() -> None:
    for table, owner in (("message_search", "messages"), ("title_search", "conversations")):
        op.execute(
            f"CREATE VIRTUAL TABLE {table} USING fts5(words, grams, "
            "tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2')"
        )
        # Foreign keys cascade past the operations; a trigger does not miss those.
        op.execute(
            f"CREATE TRIGGER {table}_forget AFTER DELETE ON {owner} BEGIN DELETE FROM {table} WHERE rowid = old.id; END"
        )


def _runs_and_models() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("run_dir", sa.Text, nullable=False, unique=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "run_metrics",
        sa.Column("run_id", sa.Integer, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("latest", sa.Float, nullable=False),
        sa.Column("lowest", sa.Float, nullable=False),
        sa.Column("highest", sa.Float, nullable=False),
    )
    op.create_table(
        "models",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("last_used", sa.Integer, nullable=True),
    )


def downgrade() -> None:
    for table in ("message_search", "title_search", "run_metrics", "runs", "models", "messages", "conversations"):
        op.execute(f"DROP TABLE {table}")
