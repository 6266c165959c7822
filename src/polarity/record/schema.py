"""The tables of the record, the same in SQLite and PostgreSQL.

Changing them takes a migration in `migrations/versions`; `make lint` fails without one.
"""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

HEAD = "0004"
"""The revision of these tables: that of the newest migration."""

metadata = MetaData()

_seconds: Double[float] = Double().with_variant(REAL, "sqlite")
_json = Text().with_variant(JSONB, "postgresql")

predictions = Table(
    "predictions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", _seconds, nullable=False, comment="seconds since 1970, UTC"),
    Column("characters", Integer, nullable=False),
    Column("text", Text, comment="as POLARITY_LOG_TEXTS says"),
    Column("sentiment", Text, nullable=False),
    Column("score", _seconds, nullable=False, comment="probability of the sentiment"),
    Column("probabilities", _json, nullable=False, comment="by label"),
    Column("family", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("bento", Text, nullable=False),
    Column("source", Text, comment="the channel that the client named"),
    Column("waited_s", _seconds, comment="until a batch took the text"),
    Column("computed_s", _seconds, comment="in the model, with the others of the batch"),
    Column("words", Integer),
    Column("unknown_share", _seconds, comment="of the words, those that no training tweet has"),
    Column("links", Integer),
    Column("mentions", Integer),
    Column("hashtags", Integer),
    Column("emoji", Integer),
    Column("script", Text, comment="the script of most letters, as Unicode names it"),
    Column("draw_probability", _seconds, comment="with which the answer was drawn for review"),
    Column("drawn", Boolean, comment="whether it was drawn"),
    sqlite_with_rowid=False,
)
Index("predictions_at", predictions.c.at)
Index(
    "predictions_drawn",
    predictions.c.at,
    sqlite_where=predictions.c.drawn,
    postgresql_where=predictions.c.drawn,
)

feedback = Table(
    "feedback",
    metadata,
    Column("prediction_id", Text, ForeignKey("predictions.id"), primary_key=True),
    Column("label", Text, nullable=False),
    Column("at", _seconds, nullable=False),
    Column("origin", Text, comment="volunteered, review or import"),
    sqlite_with_rowid=False,
)

traffic = Table(
    "traffic",
    metadata,
    Column("id", Text, primary_key=True, comment="server process and minute"),
    Column("minute", BigInteger, nullable=False, comment="minutes since 1970, UTC"),
    Column("requests", Integer, nullable=False),
    Column("errors", Integer, nullable=False, comment="answered with a status from 500"),
    Column("refused", Integer, nullable=False, comment="answered with a status from 400 to 499, 429 among them"),
    Column("overloaded", Integer, nullable=False, comment="answered with 429"),
    Column("seconds", _json, nullable=False, comment="histogram of the durations, see polarity.record.durations"),
    Column("bento", Text, nullable=False),
    sqlite_with_rowid=False,
)
Index("traffic_minute", traffic.c.minute)

hours = Table(
    "hours",
    metadata,
    Column("hour", BigInteger, primary_key=True, autoincrement=False, comment="hours since 1970, UTC"),
    Column("sentiment", Text, primary_key=True, comment="empty: the hour has been counted"),
    Column("answers", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("rule", Text, nullable=False, comment="its name in alerts.yaml"),
    Column("source", Text, nullable=False, comment="the channel that it is about; empty: all"),
    Column("severity", Text, nullable=False),
    Column("summary", Text, nullable=False, comment="what was found when it started"),
    Column("started_at", _seconds, nullable=False),
    Column("ended_at", _seconds, comment="empty while it fires"),
    sqlite_with_rowid=False,
)
Index(
    "alerts_firing",
    alerts.c.rule,
    alerts.c.source,
    unique=True,
    sqlite_where=alerts.c.ended_at.is_(None),
    postgresql_where=alerts.c.ended_at.is_(None),
)

notices = Table(
    "notices",
    metadata,
    Column("id", Text, primary_key=True, comment="Message-ID of a mail, up to the @"),
    Column("alert_id", Text, ForeignKey("alerts.id"), nullable=False),
    Column("change", Text, nullable=False, comment="firing or resolved"),
    Column("channel", Text, nullable=False, comment="its name in alerts.yaml"),
    Column("address", Text, nullable=False, comment="fingerprint of the address, which may hold a password"),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", _seconds, nullable=False),
    Column("claimed_until", _seconds, comment="until when no other process sends it"),
    Column("tries", Integer, nullable=False),
    Column("problem", Text, comment="why the last try failed"),
    Column("sent_at", _seconds),
    sqlite_with_rowid=False,
)
Index(
    "notices_unsent",
    notices.c.created_at,
    sqlite_where=notices.c.sent_at.is_(None),
    postgresql_where=notices.c.sent_at.is_(None),
)
