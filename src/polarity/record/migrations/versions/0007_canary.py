"""The canary: how many of the clients the challenger answers, and what it did for them, by minute."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"

_json = sa.Text().with_variant(JSONB, "postgresql")
_TRAFFIC = (
    ("challenged", sa.Integer, "requests that the challenger was asked for a client"),
    ("covered", sa.Integer, "of those, answered by the served model in its place"),
    ("challenger_seconds", _json, "histogram of the challenger's durations"),
)


def upgrade() -> None:
    """Add the columns."""
    for name, kind, comment in _TRAFFIC:
        op.add_column("traffic", sa.Column(name, kind, comment=comment))
    op.add_column(
        "challenge",
        sa.Column("revision", sa.Integer, nullable=False, server_default="0", comment="number of changes"),
    )
    op.add_column(
        "challenge", sa.Column("canary", _json, comment="the state of the canary, see polarity.record.canary")
    )


def downgrade() -> None:
    """Remove the columns."""
    op.drop_column("challenge", "canary")
    op.drop_column("challenge", "revision")
    for name, _, _ in reversed(_TRAFFIC):
        op.drop_column("traffic", name)
