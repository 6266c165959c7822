"""Alembic's migrations of the record's tables, for SQLite and PostgreSQL."""
