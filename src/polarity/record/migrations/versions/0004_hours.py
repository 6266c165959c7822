"""Counts of answers by hour, which comparisons with former weeks read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "hours",
        sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False, comment="hours since 1970, UTC"),
        sa.Column("sentiment", sa.Text, primary_key=True, comment="empty: the hour has been counted"),
        sa.Column("answers", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("hours")
