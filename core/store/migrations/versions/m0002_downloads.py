"""Downloads wait, run and end in a table, and a model remembers what memory it took when it ran."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "downloads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sources", sa.Text, nullable=False),
        sa.Column("models_folder", sa.Text, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("base", sa.Text, nullable=False),
        sa.Column("convert_pickle", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("done_bytes", sa.Integer, nullable=False),
        sa.Column("total_bytes", sa.Integer, nullable=False),
        sa.Column("error_code", sa.Text, nullable=False),
        sa.Column("error_params", sa.Text, nullable=True),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("ended", sa.Integer, nullable=True),
        sqlite_autoincrement=True,
    )
    op.add_column("models", sa.Column("measured", sa.Text, nullable=True))


def downgrade() -> None:
    op.drop_column("models", "measured")
    op.drop_table("downloads")
