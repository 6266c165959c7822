"""What was recorded in a span of time: counts of answers, sums of traffic, and the answers themselves for estimates.

The database is read before the local file, from which rows move to it: a row that moves meanwhile is missed until the
next reading, but never counted twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from polarity.record import durations
from polarity.record.schema import feedback, hours, mirrored, predictions, traffic
from polarity.record.shipper import ROWS_PER_BATCH
from polarity.record.store import RecordStore

_SECONDS_PER_MINUTE, SECONDS_PER_HOUR = 60, 3_600
_ROWS_PER_STEP = 20_000


class Span(NamedTuple):
    """From a time up to, but without, another; in seconds since 1970."""

    since: float
    until: float


@dataclass
class TrafficTotal:
    """The requests of a span.

    Attributes
    ----------
    minutes : int
        Rows that were added up: one for each server process and minute, also without requests.
    requests, errors, refused, overloaded : int
        As in `polarity.record.answer.Traffic`.
    seconds : list of int
        Histogram of the durations.
    bentos : set of str
        What was served.
    challenged, covered : int
        As in `polarity.record.answer.Traffic`.
    challenger_seconds : list of int
        Histogram of the challenger's durations.
    """

    minutes: int = 0
    requests: int = 0
    errors: int = 0
    refused: int = 0
    overloaded: int = 0
    seconds: list[int] = field(default_factory=durations.empty)
    bentos: set[str] = field(default_factory=set)
    challenged: int = 0
    covered: int = 0
    challenger_seconds: list[int] = field(default_factory=durations.empty)

    def add(self, row: Any) -> None:
        """Add the row of a server process and minute."""
        self.minutes += 1
        self.requests += row.requests
        self.errors += row.errors
        self.refused += row.refused
        self.overloaded += row.overloaded
        self.seconds = _added(self.seconds, row.seconds)
        self.bentos.add(row.bento)
        if row.challenged:
            self.challenged += row.challenged
            self.covered += row.covered
            self.challenger_seconds = _added(self.challenger_seconds, row.challenger_seconds)


class RecordedAnswer(NamedTuple):
    """An answer, and its label if it has one.

    Attributes
    ----------
    text : str or None
        None unless texts are kept.
    label : str or None
        The true label.
    origin : str or None
        Where the label came from: volunteered, review or import.
    labelled_at : float or None
        When it came, in seconds since 1970.
    """

    id: str
    at: float
    version: str
    sentiment: str
    score: float
    characters: int
    source: str | None
    script: str | None
    text: str | None
    words: int | None
    unknown_share: float | None
    links: int | None
    mentions: int | None
    hashtags: int | None
    emoji: int | None
    draw_probability: float | None
    drawn: bool | None
    label: str | None
    origin: str | None
    labelled_at: float | None


class LabelledPair(NamedTuple):
    """A text that the served model and a challenger answered differently, with its label.

    Attributes
    ----------
    inclusion : float
        Probability with which its label was asked for.
    """

    labelled_at: float
    id: str
    sentiment: str
    challenger_sentiment: str
    label: str
    inclusion: float


@dataclass
class PairTotal:
    """The texts of a span that a served version and a challenger answered both.

    Attributes
    ----------
    pairs, disagreeing, asked : int
        All of them; those with different answers; those of which a label was asked for.
    """

    version: str
    challenger: str
    pairs: int
    disagreeing: int
    asked: int


def answer_counts(store: RecordStore, span: Span) -> Counter[tuple[str, str]]:
    """How many answers were given, by source (empty: none named) and sentiment."""
    by = (predictions.c.source, predictions.c.sentiment)
    query = sa.select(*by, sa.func.count()).where(within(predictions.c.at, span)).group_by(*by)
    counts: Counter[tuple[str, str]] = Counter()
    for source, sentiment, count in _rows(store, query, predictions):
        counts[source or "", sentiment] += count
    return counts


def hourly_counts(store: RecordStore, first: int, end: int, now: float) -> dict[int, Counter[str]]:
    """How often each sentiment was answered in each hour.

    Hours that have been over for an hour are counted once, and their counts are kept with the record: counting weeks of
    answers every minute would cost more than serving them.

    Parameters
    ----------
    first, end : int
        Hours since 1970: from one up to, but without, another.
    now : float
        Seconds since 1970.

    Returns
    -------
    dict
        By hour; those without answers are absent.
    """
    keeper = store.engines[-1]
    counts: dict[int, Counter[str]] = {}
    kept: set[int] = set()
    query = sa.select(hours).where(hours.c.hour >= first, hours.c.hour < end)
    with keeper.connect() as connection:
        for hour, sentiment, number in connection.execute(query):
            kept.add(hour)
            if sentiment:
                counts.setdefault(hour, Counter())[sentiment] = number
    missing = [hour for hour in range(first, end) if hour not in kept]
    if not missing:
        return counts
    span = Span(missing[0] * SECONDS_PER_HOUR, end * SECONDS_PER_HOUR)
    counted = {hour: found for hour, found in _count_by_hour(store, span).items() if hour not in kept}
    settled = [hour for hour in missing if (hour + 2) * SECONDS_PER_HOUR <= now]
    _keep(keeper, {hour: counted.get(hour, Counter()) for hour in settled})
    return counts | counted


def _keep(keeper: sa.Engine, counts: dict[int, Counter[str]]) -> None:
    rows = [
        {"hour": hour, "sentiment": sentiment, "answers": number}
        for hour, of in counts.items()
        for sentiment, number in [("", 0), *of.items()]
    ]
    if rows:
        insert: Any = postgresql.insert if keeper.dialect.name == "postgresql" else sqlite.insert
        with keeper.begin() as connection:
            connection.execute(insert(hours).on_conflict_do_nothing(), rows)


def _count_by_hour(store: RecordStore, span: Span) -> dict[int, Counter[str]]:
    counts: dict[int, Counter[str]] = {}
    for engine, seen_once in readings(store, predictions):
        at = predictions.c.at
        # PostgreSQL rounds in a cast, and not every SQLite has floor.
        second = sa.cast(sa.func.floor(at) if engine.dialect.name == "postgresql" else at, sa.BigInteger)
        hour = (second // SECONDS_PER_HOUR).label("hour")
        query = sa.select(hour, predictions.c.sentiment, sa.func.count()).where(within(at, span), seen_once)
        with engine.connect() as connection:
            for found, sentiment, count in connection.execute(query.group_by(hour, predictions.c.sentiment)):
                counts.setdefault(found, Counter())[sentiment] += count
    return counts


def traffic_total(store: RecordStore, span: Span) -> TrafficTotal:
    """The requests of the minutes that began within the span; a minute is recorded when it is over."""
    total = TrafficTotal()
    for _, row in recorded_traffic(store, span):
        total.add(row)
    return total


def recorded_traffic(store: RecordStore, span: Span) -> Iterator[tuple[float, Any]]:
    """The rows of the minutes that began within the span, and when they began, in seconds since 1970."""
    minutes = Span(-(-span.since // _SECONDS_PER_MINUTE), -(-span.until // _SECONDS_PER_MINUTE))
    for row in _rows(store, sa.select(traffic).where(within(traffic.c.minute, minutes)), traffic):
        yield row.minute * float(_SECONDS_PER_MINUTE), row


def _added(counts: list[int], given: list[int] | str) -> list[int]:
    more = given if isinstance(given, list) else json.loads(given)
    return [mine + its for mine, its in zip(counts, more, strict=True)] if more else counts


def last_minute(store: RecordStore) -> tuple[float, str] | None:
    """The start of the latest recorded minute in seconds since 1970, and what was served then; None without any."""
    query = sa.select(traffic.c.minute, traffic.c.bento).order_by(traffic.c.minute.desc()).limit(1)
    found = max(_rows(store, query, traffic), key=lambda row: int(row.minute), default=None)
    return None if found is None else (float(found.minute * _SECONDS_PER_MINUTE), found.bento)


def first_minute(store: RecordStore, bento: str) -> float | None:
    """The start of the first recorded minute of a Bento in seconds since 1970; None without any."""
    first = sa.select(sa.func.min(traffic.c.minute)).where(traffic.c.bento == bento)
    return min((minute * float(_SECONDS_PER_MINUTE) for minute in _scalars(store, first)), default=None)


def last_label_at(store: RecordStore) -> float | None:
    """When the latest label came, in seconds since 1970; None without any."""
    return max(_scalars(store, sa.select(sa.func.max(feedback.c.at))), default=None)


def waiting_rows(store: RecordStore) -> tuple[int, float | None]:
    """The number of answers in the local file, and when the oldest was given, in seconds since 1970.

    With a database, these are the rows that it does not have yet.
    """
    with store.engines[0].connect() as connection:
        count, oldest = connection.execute(sa.select(sa.func.count(), sa.func.min(predictions.c.at))).one()
    return count, oldest


def answers(
    store: RecordStore, span: Span, *, version: str | None = None, labelled: bool = False
) -> Iterator[RecordedAnswer]:
    """The answers of a span, of one version or of all; with `labelled`, only those that have a label.

    A label that is still in the local file while the database has its prediction already is missed.
    """
    columns = [predictions.c[name] for name in RecordedAnswer._fields if name in predictions.c]
    query = (
        sa.select(*columns, feedback.c.label, feedback.c.origin, feedback.c.at)
        .select_from(predictions.join(feedback, feedback.c.prediction_id == predictions.c.id, isouter=not labelled))
        .where(within(predictions.c.at, span))
    )
    if version is not None:
        query = query.where(predictions.c.version == version)
    return map(RecordedAnswer._make, _rows(store, query, predictions))


def reviewed_answers(store: RecordStore, span: Span, version: str) -> list[RecordedAnswer]:
    """The answers of a version that were drawn for review and labelled there, in the order in which their labels came.

    Labels that users volunteered are left out, also of answers that had been drawn: users choose what they report.
    """
    found = answers(store, span, version=version, labelled=True)
    return sorted(filter(is_reviewed, found), key=lambda answer: (answer.labelled_at or 0.0, answer.id))


def is_reviewed(answer: RecordedAnswer) -> bool:
    """Whether an answer was drawn for review, and labelled there."""
    return bool(answer.drawn and answer.draw_probability) and answer.origin == "review"


def answer_numbers(store: RecordStore, span: Span, version: str) -> tuple[int, int]:
    """How many answers a version gave, and how many of them were drawn for review."""
    numbers = sa.select(sa.func.count(), sa.func.count().filter(predictions.c.drawn))
    query = numbers.where(within(predictions.c.at, span), predictions.c.version == version)
    total = drawn = 0
    for answered, of_them_drawn in _rows(store, query, predictions):
        total, drawn = total + answered, drawn + of_them_drawn
    return total, drawn


def pair_totals(store: RecordStore, span: Span) -> list[PairTotal]:
    """How many texts were mirrored within a span, by version and challenger, the latest challenger first."""
    by = (predictions.c.version, mirrored.c.version)
    query = (
        sa.select(
            *by,
            sa.func.count(),
            sa.func.count(mirrored.c.inclusion),
            sa.func.count().filter(mirrored.c.asked),
            sa.func.max(mirrored.c.at),
        )
        .select_from(_mirrored_answers())
        .where(within(mirrored.c.at, span))
        .group_by(*by)
    )
    found: dict[tuple[str, str], PairTotal] = {}
    latest: dict[tuple[str, str], float] = {}
    for version, challenger, pairs, disagreeing, asked, at in _rows(store, query, predictions):
        total = found.setdefault((version, challenger), PairTotal(version, challenger, 0, 0, 0))
        total.pairs += pairs
        total.disagreeing += disagreeing
        total.asked += asked
        latest[version, challenger] = max(at, latest.get((version, challenger), at))
    return sorted(found.values(), key=lambda total: -latest[total.version, total.challenger])


def labelled_pairs(store: RecordStore, span: Span, version: str, challenger: str) -> list[LabelledPair]:
    """The disagreements of a span whose label was asked for and came, in the order in which the labels came.

    Labels that users volunteered are left out: users choose what they report.
    """
    columns = (feedback.c.at, predictions.c.id, predictions.c.sentiment, mirrored.c.sentiment, feedback.c.label)
    query = (
        sa.select(*columns, mirrored.c.inclusion)
        .select_from(_mirrored_answers().join(feedback, feedback.c.prediction_id == predictions.c.id))
        .where(within(mirrored.c.at, span), mirrored.c.asked, feedback.c.origin == "review")
        .where(predictions.c.version == version, mirrored.c.version == challenger)
    )
    return sorted(map(LabelledPair._make, _rows(store, query, predictions)))


def _mirrored_answers() -> sa.Join:
    return mirrored.join(predictions, mirrored.c.prediction_id == predictions.c.id)


def _scalars(store: RecordStore, query: sa.Select[Any]) -> Iterator[Any]:
    """The value of an aggregate in each store that has one."""
    for engine in store.engines:
        with engine.connect() as connection:
            if (value := connection.scalar(query)) is not None:
                yield value


def _rows(store: RecordStore, query: sa.Select[Any], table: sa.Table) -> Iterator[Any]:
    for engine, seen_once in readings(store, table):
        with engine.connect() as connection:
            found = connection.execution_options(yield_per=_ROWS_PER_STEP).execute(query.where(seen_once))
            for part in found.partitions():
                yield from part


def readings(store: RecordStore, table: sa.Table) -> Iterator[tuple[sa.Engine, sa.ColumnElement[bool]]]:
    """The stores, the database first, and the condition that excludes the rows that one before it has, too.

    Those are the rows that are being shipped: committed in the database, and not yet deleted from the file.
    """
    local, *databases = store.engines
    key = table.primary_key.columns[0]
    for database in databases:
        yield database, sa.true()
        with local.connect() as connection:
            first = connection.scalars(sa.select(key).order_by(key).limit(ROWS_PER_BATCH)).all()
        with database.connect() as connection:
            shipped = connection.scalars(sa.select(key).where(key.in_(first))).all() if first else []
        yield local, key.not_in(shipped)
    if not databases:
        yield local, sa.true()


def within(column: sa.ColumnElement[Any], span: Span) -> sa.ColumnElement[bool]:
    return (column >= span.since) & (column < span.until)
