"""Alembic's environment, driven by `core.store.upgrade`, which hands in the connection and owns the transaction."""

from __future__ import annotations

from alembic import context

from core.store.schema import Row

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Row.metadata,
    render_as_batch=True,  # SQLite alters a table by making it anew
    transactional_ddl=False,  # ours: one transaction around all steps
)
context.run_migrations()
