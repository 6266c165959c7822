"""The stored record as one: rows that are still in the local file, and those that the database has."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from polarity.errors import ServiceUnavailable
from polarity.record.answer import Origin, Outcome, Purpose, Review, ReviewItem
from polarity.record.migration import migrate
from polarity.record.options import RecordOptions
from polarity.record.schema import (
    alerts,
    assignments,
    feedback,
    hours,
    measures,
    mirrored,
    notices,
    predictions,
    traffic,
    windows,
)
from polarity.record.shipper import database_engine, driver_message
from polarity.record.spool import local_engine

_IDS_PER_STATEMENT = 500
_SECONDS_PER_MINUTE, _SECONDS_PER_HOUR = 60, 3_600


@dataclass(frozen=True)
class Forgotten:
    """Rows that have been deleted: predictions, labels, and minutes of traffic."""

    predictions: int = 0
    labels: int = 0
    minutes: int = 0

    def __add__(self, other: Forgotten) -> Forgotten:
        return Forgotten(self.predictions + other.predictions, self.labels + other.labels, self.minutes + other.minutes)


class RecordStore:
    """Reads and changes what has been recorded; thread-safe.

    Parameters
    ----------
    options : RecordOptions

    Raises
    ------
    OSError, sqlalchemy.exc.SQLAlchemyError
        If a store cannot be opened; so do the methods if it cannot be used.
    """

    def __init__(self, options: RecordOptions) -> None:
        # Rows move from the local file to the database: looked for in this order, none is missed.
        self.engines: tuple[sa.Engine, ...] = (local_engine(options.local_file),)
        if options.database:
            database = database_engine(options.database)
            migrate(database)
            self.engines = (*self.engines, database)

    def add_feedback(self, prediction_id: str, label: str, at: float, origin: Origin = "volunteered") -> Outcome:
        """Store the true label of a prediction unless it already has one."""
        return self.add_labels({prediction_id: label}, at, origin)[prediction_id]

    def add_labels(self, labels: Mapping[str, str], at: float, origin: Origin) -> dict[str, Outcome]:
        """Store the true labels of many predictions, as `add_feedback` does for one.

        Parameters
        ----------
        labels : mapping
            Label by prediction id.
        """
        outcomes: dict[str, Outcome] = dict.fromkeys(labels, "unknown")
        for engine in self.engines:
            for ids in _parts([name for name, outcome in outcomes.items() if outcome == "unknown"]):
                given = {name: labels[name] for name in ids}
                with engine.begin() as connection:
                    added = set(connection.scalars(_add(connection, given, at, origin)))
                    # A label may still be in the local file when its prediction has been shipped.
                    known = sa.select(feedback.c.prediction_id, feedback.c.label)
                    for name, label in connection.execute(known.where(feedback.c.prediction_id.in_(ids))):
                        outcomes[name] = "new" if name in added else "same" if label == labels[name] else "other"
        return outcomes

    def ids_by_text(self, texts: Sequence[str]) -> dict[str, list[str]]:
        """The predictions whose stored text is one of `texts`; texts without any are absent."""
        found: dict[str, set[str]] = defaultdict(set)
        for engine in self.engines:
            for part in _parts(texts):
                with engine.connect() as connection:
                    query = sa.select(predictions.c.text, predictions.c.id).where(predictions.c.text.in_(part))
                    for text, name in connection.execute(query):
                        found[text].add(name)
        return {text: sorted(names) for text, names in found.items()}

    def labels(self) -> tuple[str, ...]:
        """The classes of the latest recorded prediction; empty without any."""
        latest = sa.select(predictions.c.probabilities).order_by(predictions.c.at.desc()).limit(1)
        for engine in self.engines:
            with engine.connect() as connection:
                if (given := connection.scalar(latest)) is not None:
                    return tuple(given if isinstance(given, dict) else json.loads(given))
        return ()

    def forget_predictions(self, ids: Sequence[str]) -> Forgotten:
        """Delete predictions with their labels."""
        for part in _parts(ids):
            with self.engines[-1].begin() as connection:
                connection.execute(sa.delete(assignments).where(assignments.c.prediction_id.in_(part)))
        return self._forget([predictions.c.id.in_(part) for part in _parts(ids)])

    def forget_before(self, at: float) -> Forgotten:
        """Delete everything from before `at` seconds since 1970."""
        done = self._forget([predictions.c.at < at])
        for engine in self.engines:
            with engine.begin() as connection:
                old = sa.delete(traffic).where(traffic.c.minute < at // _SECONDS_PER_MINUTE)
                done += Forgotten(minutes=connection.execute(old).rowcount)
                connection.execute(sa.delete(hours).where(hours.c.hour < at // _SECONDS_PER_HOUR))
                connection.execute(sa.delete(mirrored).where(mirrored.c.at < at))
                over = sa.select(alerts.c.id).where(alerts.c.ended_at < at)
                connection.execute(sa.delete(notices).where(notices.c.alert_id.in_(over)))
                connection.execute(sa.delete(alerts).where(alerts.c.ended_at < at))
                connection.execute(sa.delete(windows).where(windows.c.until < at))
                connection.execute(sa.delete(assignments).where(assignments.c.until < at))
                connection.execute(sa.delete(measures).where(measures.c.hour < at // _SECONDS_PER_HOUR))
        return done

    def forget_mention(self, name: str) -> Forgotten:
        """Delete the predictions whose stored text mentions a user.

        Parameters
        ----------
        name : str
            With or without `@`; case does not matter. Masked texts mention nobody.
        """
        mention = re.compile(rf"(?<![\w@])@{re.escape(name.removeprefix('@'))}(?!\w)", re.IGNORECASE)
        done = Forgotten()
        for engine in self.engines:
            with engine.connect() as connection:
                like = predictions.c.text.icontains(f"@{name.removeprefix('@')}", autoescape=True)
                rows = connection.execute(sa.select(predictions.c.id, predictions.c.text).where(like))
                ids = [row.id for row in rows if mention.search(row.text)]
            done += self.forget_predictions(ids)
        return done

    def _forget(self, conditions: Sequence[sa.ColumnElement[bool]]) -> Forgotten:
        done = Forgotten()
        for engine in self.engines:
            for condition in conditions:
                with engine.begin() as connection:
                    labelled = sa.select(predictions.c.id).where(condition)
                    connection.execute(sa.delete(mirrored).where(mirrored.c.prediction_id.in_(labelled)))
                    labels = connection.execute(sa.delete(feedback).where(feedback.c.prediction_id.in_(labelled)))
                    rows = connection.execute(sa.delete(predictions).where(condition))
                    done += Forgotten(rows.rowcount, labels.rowcount)
        return done

    def review(self, limit: int) -> Review:
        """The latest answers that people are asked to label and have not labelled yet, and how many there are.

        Those that compare the model with a challenger come first, but take no more than half of the places while
        others wait: the accuracy is estimated from the others alone.
        """
        # A label that a user volunteered does not count: what users report would be missing among the drawn ones.
        mine, asked = feedback.c.prediction_id == predictions.c.id, feedback.c.origin.is_distinct_from("volunteered")
        unlabelled = ~sa.exists().where(mine, asked)
        names = [name for name in ReviewItem.__struct_fields__ if name not in ("prediction_id", "purpose")]
        columns: dict[str, sa.ColumnElement[Any]] = {name: predictions.c[name] for name in names}
        drawn = sa.select(predictions.c.id, *columns.values(), sa.literal("accuracy")).where(
            predictions.c.drawn, unlabelled
        )
        columns["draw_probability"] = mirrored.c.inclusion.label("draw_probability")
        disputed = (
            sa.select(predictions.c.id, *columns.values(), sa.literal("comparison"))
            .join(mirrored, mirrored.c.prediction_id == predictions.c.id)
            .where(mirrored.c.asked, unlabelled)
        )
        queries: dict[Purpose, sa.Select[Any]] = {"comparison": disputed, "accuracy": drawn}
        items: dict[Purpose, dict[str, ReviewItem]] = {purpose: {} for purpose in queries}
        total = 0
        for engine in self.engines:
            with engine.connect() as connection:
                for purpose, query in queries.items():
                    total += connection.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
                    for row in connection.execute(query.order_by(predictions.c.at.desc()).limit(limit)):
                        items[purpose].setdefault(row.id, ReviewItem(*row))
        first, others = (sorted(found.values(), key=lambda item: -item.at) for found in items.values())
        first = first[: max(-(-limit // 2), limit - len(others))]
        return Review(total, [*first, *others[: limit - len(first)]])

    def close(self) -> None:
        """Close all connections."""
        for engine in self.engines:
            engine.dispose()


@contextmanager
def opened_record(options: RecordOptions) -> Iterator[RecordStore]:
    """The stored record, for a command.

    Raises
    ------
    ServiceUnavailable
        If a store cannot be opened or used.
    """
    try:
        store = RecordStore(options)
        try:
            yield store
        finally:
            store.close()
    except (OSError, sa.exc.SQLAlchemyError) as error:
        raise ServiceUnavailable(f"The record cannot be used: {driver_message(error, options.database)}.") from error


def _add(connection: sa.Connection, labels: Mapping[str, str], at: float, origin: Origin) -> Any:
    """The statement that stores labels for the predictions that are there and have none, and returns their ids.

    A label that somebody was asked for takes the place of one that a user volunteered.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    own = sa.case(dict(labels), value=predictions.c.id)
    values = sa.select(predictions.c.id, own, sa.literal(at), sa.literal(origin))
    names = ["prediction_id", "label", "at", "origin"]
    added: Any = insert(feedback).from_select(names, values.where(predictions.c.id.in_(list(labels))))
    if origin == "volunteered":
        added = added.on_conflict_do_nothing()
    else:
        added = added.on_conflict_do_update(
            index_elements=["prediction_id"],
            set_={name: added.excluded[name] for name in names[1:]},
            where=feedback.c.origin == "volunteered",
        )
    return added.returning(feedback.c.prediction_id)


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        yield ids[start : start + _IDS_PER_STATEMENT]
