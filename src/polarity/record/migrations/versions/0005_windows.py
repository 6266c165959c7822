"""Windows of answers that were judged for drift."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_seconds: sa.Double[float] = sa.Double().with_variant(sa.REAL, "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "windows",
        sa.Column("id", sa.Text, primary_key=True, comment="version and first answer"),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("since", _seconds, nullable=False, comment="time of the first answer"),
        sa.Column("until", _seconds, nullable=False, comment="time of the last answer"),
        sa.Column("last_id", sa.Text, nullable=False, comment="id of the last answer"),
        sa.Column("answers", sa.Integer, nullable=False),
        sa.Column("effect", _seconds, nullable=False, comment="largest statistic as a multiple of its threshold"),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("announced", sa.Boolean, nullable=False, comment="whether its event has been emitted, if any is due"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("windows")
