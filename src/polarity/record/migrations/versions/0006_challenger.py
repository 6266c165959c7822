"""The challenger: where it is, and what it answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_seconds: sa.Double[float] = sa.Double().with_variant(sa.REAL, "sqlite")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "challenge",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False, comment="1: there is one row"),
        sa.Column("address", sa.Text, nullable=False, comment="URL of the challenger; empty: stopped"),
        sa.Column("share", _seconds, nullable=False, comment="of the answered texts that are mirrored"),
        sa.Column("at", _seconds, nullable=False, comment="when it was set"),
        sa.Column("by", sa.Text, nullable=False, comment="who set it"),
        sa.Column("reason", sa.Text, nullable=False, comment="why, in their words"),
    )
    op.create_table(
        "mirrored",
        sa.Column("prediction_id", sa.Text, sa.ForeignKey("predictions.id"), primary_key=True),
        sa.Column("version", sa.Text, primary_key=True, comment="of the challenger"),
        sa.Column("at", _seconds, nullable=False),
        sa.Column("sentiment", sa.Text, nullable=False, comment="the challenger's answer"),
        sa.Column("score", _seconds, nullable=False),
        sa.Column("inclusion", _seconds, comment="probability with which a label is asked for; empty: they agree"),
        sa.Column("asked", sa.Boolean, nullable=False, comment="whether a label is asked for, to compare the models"),
        sqlite_with_rowid=False,
    )
    op.create_index("mirrored_at", "mirrored", ["at"])
    op.create_index(
        "mirrored_asked",
        "mirrored",
        ["at"],
        sqlite_where=sa.text("asked"),
        postgresql_where=sa.text("asked"),
    )


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("mirrored")
    op.drop_table("challenge")
