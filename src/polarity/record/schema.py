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

HEAD = "0008"
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
    Column("origin", Text, comment="volunteered, review, queue or import"),
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
    Column("challenged", Integer, comment="requests that the challenger was asked for a client"),
    Column("covered", Integer, comment="of those, answered by the served model in its place"),
    Column("challenger_seconds", _json, comment="histogram of the challenger's durations"),
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

windows = Table(
    "windows",
    metadata,
    Column("id", Text, primary_key=True, comment="version and first answer"),
    Column("version", Text, nullable=False),
    Column("since", _seconds, nullable=False, comment="time of the first answer"),
    Column("until", _seconds, nullable=False, comment="time of the last answer"),
    Column("last_id", Text, nullable=False, comment="id of the last answer"),
    Column("answers", Integer, nullable=False),
    Column("effect", _seconds, nullable=False, comment="largest statistic as a multiple of its threshold"),
    Column("summary", Text, nullable=False),
    Column("announced", Boolean, nullable=False, comment="whether its event has been emitted, if any is due"),
    sqlite_with_rowid=False,
)

challenge = Table(
    "challenge",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="1: there is one row"),
    Column("address", Text, nullable=False, comment="URL of the challenger; empty: stopped"),
    Column("share", _seconds, nullable=False, comment="of the answered texts that are mirrored"),
    Column("at", _seconds, nullable=False, comment="when it was set"),
    Column("by", Text, nullable=False, comment="who set it"),
    Column("reason", Text, nullable=False, comment="why, in their words"),
    Column("revision", Integer, nullable=False, server_default="0", comment="number of changes"),
    Column("canary", _json, comment="the state of the canary, see polarity.record.canary"),
)

mirrored = Table(
    "mirrored",
    metadata,
    Column("prediction_id", Text, ForeignKey("predictions.id"), primary_key=True),
    Column("version", Text, primary_key=True, comment="of the challenger"),
    Column("at", _seconds, nullable=False),
    Column("sentiment", Text, nullable=False, comment="the challenger's answer"),
    Column("score", _seconds, nullable=False),
    Column("inclusion", _seconds, comment="probability with which a label is asked for; empty: they agree"),
    Column("asked", Boolean, nullable=False, comment="whether a label is asked for, to compare the models"),
    sqlite_with_rowid=False,
)
Index("mirrored_at", mirrored.c.at)
Index("mirrored_asked", mirrored.c.at, sqlite_where=mirrored.c.asked, postgresql_where=mirrored.c.asked)

assignments = Table(
    "assignments",
    metadata,
    # Not a foreign key: the prediction may still be in the local file when its assignment is in the database.
    Column("prediction_id", Text, primary_key=True),
    Column("turn", Integer, primary_key=True, autoincrement=False, comment="1: the label; 2: a second opinion"),
    Column("labeller", Text, nullable=False, comment="as people call themselves"),
    Column("purpose", Text, nullable=False, comment="what the label is for"),
    Column("until", _seconds, nullable=False, comment="until when nobody else gets it"),
    Column("label", Text, comment="empty: not given yet"),
    Column("at", _seconds, comment="when it was given"),
    sqlite_with_rowid=False,
)
Index("assignments_until", assignments.c.until)

measures = Table(
    "measures",
    metadata,
    Column("name", Text, primary_key=True),
    Column("source", Text, primary_key=True, comment="the channel that it is about; empty: all"),
    Column("version", Text, primary_key=True, comment="of the model that it is about"),
    Column("hour", BigInteger, primary_key=True, autoincrement=False, comment="hours since 1970, UTC"),
    Column("since", _seconds, nullable=False, comment="start of what it is of"),
    Column("until", _seconds, nullable=False, comment="end of it"),
    Column("value", _seconds, nullable=False),
    Column("low", _seconds, comment="95 % interval"),
    Column("high", _seconds),
    Column("of", Integer, nullable=False, comment="number of labels, answers or requests"),
    Column("method", Text, nullable=False, comment="how it was obtained"),
    sqlite_with_rowid=False,
)
