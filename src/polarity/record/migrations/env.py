"""Alembic's entry point: migrates the connection that `polarity.record.migration` passes."""

from __future__ import annotations

from alembic import context

from polarity.record.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
