"""Profiles: tables that were measured, and the result of each of their cells."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "profile_runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("cells", sa.Integer, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("ended", sa.Integer, nullable=True),
        sa.Column("owner_pid", sa.Integer, nullable=True),
        sa.Column("owner_started", sa.Float, nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "profile_cells",
        sa.Column("run_id", sa.Integer, sa.ForeignKey("profile_runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("timeline", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("profile_cells")
    op.drop_table("profile_runs")
