"""Predictions and feedback, as the first version of the log kept them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

_seconds: sa.Double[float] = sa.Double().with_variant(sa.REAL, "sqlite")
_json = sa.Text().with_variant(JSONB, "postgresql")


def upgrade() -> None:
    """Create the tables; a log that has no revision yet has them already."""
    op.create_table(
        "predictions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", _seconds, nullable=False),
        sa.Column("characters", sa.Integer, nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("sentiment", sa.Text, nullable=False),
        sa.Column("score", _seconds, nullable=False),
        sa.Column("probabilities", _json, nullable=False),
        sa.Column("family", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("bento", sa.Text, nullable=False),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_index("predictions_at", "predictions", ["at"], if_not_exists=True)
    op.create_table(
        "feedback",
        sa.Column("prediction_id", sa.Text, sa.ForeignKey("predictions.id"), primary_key=True),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("at", _seconds, nullable=False),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )


def downgrade() -> None:
    """Delete the tables."""
    op.drop_table("feedback")
    op.drop_table("predictions")
