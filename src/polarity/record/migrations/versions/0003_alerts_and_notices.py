"""Alerts that fired, and what was sent about them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_seconds: sa.Double[float] = sa.Double().with_variant(sa.REAL, "sqlite")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("rule", sa.Text, nullable=False, comment="its name in alerts.yaml"),
        sa.Column("source", sa.Text, nullable=False, comment="the channel that it is about; empty: all"),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False, comment="what was found when it started"),
        sa.Column("started_at", _seconds, nullable=False),
        sa.Column("ended_at", _seconds, comment="empty while it fires"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "alerts_firing",
        "alerts",
        ["rule", "source"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.Text, primary_key=True, comment="Message-ID of a mail, up to the @"),
        sa.Column("alert_id", sa.Text, sa.ForeignKey("alerts.id"), nullable=False),
        sa.Column("change", sa.Text, nullable=False, comment="firing or resolved"),
        sa.Column("channel", sa.Text, nullable=False, comment="its name in alerts.yaml"),
        sa.Column("address", sa.Text, nullable=False, comment="fingerprint of the address, which may hold a password"),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", _seconds, nullable=False),
        sa.Column("claimed_until", _seconds, comment="until when no other process sends it"),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("problem", sa.Text, comment="why the last try failed"),
        sa.Column("sent_at", _seconds),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "notices_unsent",
        "notices",
        ["created_at"],
        sqlite_where=sa.text("sent_at IS NULL"),
        postgresql_where=sa.text("sent_at IS NULL"),
    )


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("notices")
    op.drop_table("alerts")
