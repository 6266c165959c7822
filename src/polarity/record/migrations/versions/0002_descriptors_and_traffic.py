"""What a text looked like, where it came from, what it cost, whether it was drawn for review; requests by minute."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

_seconds: sa.Double[float] = sa.Double().with_variant(sa.REAL, "sqlite")
_json = sa.Text().with_variant(JSONB, "postgresql")
_ADDED = (
    ("source", sa.Text, "the channel that the client named"),
    ("waited_s", _seconds, "until a batch took the text"),
    ("computed_s", _seconds, "in the model, with the others of the batch"),
    ("words", sa.Integer, None),
    ("unknown_share", _seconds, "of the words, those that no training tweet has"),
    ("links", sa.Integer, None),
    ("mentions", sa.Integer, None),
    ("hashtags", sa.Integer, None),
    ("emoji", sa.Integer, None),
    ("script", sa.Text, "the script of most letters, as Unicode names it"),
    ("draw_probability", _seconds, "with which the answer was drawn for review"),
    ("drawn", sa.Boolean, "whether it was drawn"),
)


def upgrade() -> None:
    """Add the columns and the table."""
    for name, kind, comment in _ADDED:
        op.add_column("predictions", sa.Column(name, kind, comment=comment))
    op.create_index(
        "predictions_drawn", "predictions", ["at"], sqlite_where=sa.text("drawn"), postgresql_where=sa.text("drawn")
    )
    if op.get_bind().dialect.name == "postgresql":
        for name, comment in (
            ("at", "seconds since 1970, UTC"),
            ("text", "as POLARITY_LOG_TEXTS says"),
            ("score", "probability of the sentiment"),
            ("probabilities", "by label"),
        ):
            op.alter_column("predictions", name, comment=comment)
    op.add_column("feedback", sa.Column("origin", sa.Text, comment="volunteered, review or import"))
    op.create_table(
        "traffic",
        sa.Column("id", sa.Text, primary_key=True, comment="server process and minute"),
        sa.Column("minute", sa.BigInteger, nullable=False, comment="minutes since 1970, UTC"),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("errors", sa.Integer, nullable=False, comment="answered with a status from 500"),
        sa.Column(
            "refused", sa.Integer, nullable=False, comment="answered with a status from 400 to 499, 429 among them"
        ),
        sa.Column("overloaded", sa.Integer, nullable=False, comment="answered with 429"),
        sa.Column(
            "seconds", _json, nullable=False, comment="histogram of the durations, see polarity.record.durations"
        ),
        sa.Column("bento", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("traffic_minute", "traffic", ["minute"])


def downgrade() -> None:
    """Remove what was added."""
    op.drop_table("traffic")
    op.drop_column("feedback", "origin")
    op.drop_index("predictions_drawn", "predictions")
    for name, _, _ in reversed(_ADDED):
        op.drop_column("predictions", name)
