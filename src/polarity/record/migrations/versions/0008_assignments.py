"""Who labels what, and the measures that the monitor read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_seconds: sa.Double[float] = sa.Double().with_variant(sa.REAL, "sqlite")
_ORIGIN_BEFORE, _ORIGIN = "volunteered, review or import", "volunteered, review, queue or import"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "assignments",
        sa.Column("prediction_id", sa.Text, primary_key=True),
        sa.Column("turn", sa.Integer, primary_key=True, comment="1: the label; 2: a second opinion"),
        sa.Column("labeller", sa.Text, nullable=False, comment="as people call themselves"),
        sa.Column("purpose", sa.Text, nullable=False, comment="what the label is for"),
        sa.Column("until", _seconds, nullable=False, comment="until when nobody else gets it"),
        sa.Column("label", sa.Text, comment="empty: not given yet"),
        sa.Column("at", _seconds, comment="when it was given"),
        sqlite_with_rowid=False,
    )
    op.create_index("assignments_until", "assignments", ["until"])
    op.create_table(
        "measures",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True, comment="the channel that it is about; empty: all"),
        sa.Column("version", sa.Text, primary_key=True, comment="of the model that it is about"),
        sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False, comment="hours since 1970, UTC"),
        sa.Column("since", _seconds, nullable=False, comment="start of what it is of"),
        sa.Column("until", _seconds, nullable=False, comment="end of it"),
        sa.Column("value", _seconds, nullable=False),
        sa.Column("low", _seconds, comment="95 % interval"),
        sa.Column("high", _seconds),
        sa.Column("of", sa.Integer, nullable=False, comment="number of labels, answers or requests"),
        sa.Column("method", sa.Text, nullable=False, comment="how it was obtained"),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("feedback", "origin", comment=_ORIGIN)


def downgrade() -> None:
    """Remove the tables."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("feedback", "origin", comment=_ORIGIN_BEFORE)
    op.drop_table("measures")
    op.drop_index("assignments_until", "assignments")
    op.drop_table("assignments")
