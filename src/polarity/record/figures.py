"""The figures of a span of time, step by step, for people who watch: what was answered, how fast, and what was noticed.

Nothing is estimated here: estimates are the monitor's (`polarity.record.measure_book`).
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from polarity.record import durations
from polarity.record.challenge import read_challenge
from polarity.record.history import Span, TrafficTotal, readings, recorded_traffic, within
from polarity.record.measure_book import NotedMeasure, noted_measures
from polarity.record.schema import alerts, predictions, windows
from polarity.record.store import RecordStore

MAX_STEPS = 500


class Answered(msgspec.Struct, frozen=True):
    """Answers of a version with a sentiment in the step that begins at `at`, and their mean confidence."""

    at: float
    version: str
    sentiment: str
    answers: int
    confidence: float


class Requests(msgspec.Struct, frozen=True):
    """The requests of the step that begins at `at`; durations in seconds, None without requests."""

    at: float
    requests: int
    errors: int
    refused: int
    p50: float | None
    p95: float | None


class ServedVersion(msgspec.Struct, frozen=True):
    """A version that answered within the span, and when it first and last did."""

    version: str
    family: str
    first_at: float
    last_at: float
    answers: int


class NotedAlert(msgspec.Struct, frozen=True):
    """An alert that fired within the span; `ended_at` is None while it fires."""

    rule: str
    source: str
    severity: str
    summary: str
    started_at: float
    ended_at: float | None


class NotedWindow(msgspec.Struct, frozen=True):
    """A window of answers that was judged for drift; from an effect of 1 on, it has drifted."""

    version: str
    since: float
    until: float
    answers: int
    effect: float
    summary: str


class CanaryFigures(msgspec.Struct, frozen=True):
    """The challenger, if there is one: the share of the answers it is sent, and of the clients it answers."""

    share: float
    clients: float
    version: str
    phase: str
    since: float
    by: str
    reason: str


class Figures(msgspec.Struct, frozen=True):
    """All of it; see the classes of the attributes.

    Attributes
    ----------
    step_s : float
        Length of a step in seconds.
    """

    since: float
    until: float
    step_s: float
    versions: list[ServedVersion]
    answers: list[Answered]
    requests: list[Requests]
    measures: list[NotedMeasure]
    drift: list[NotedWindow]
    alerts: list[NotedAlert]
    challenger: CanaryFigures | None


def read_figures(store: RecordStore, span: Span, step_s: float, version: str | None = None) -> Figures:
    """Read the figures of a span.

    Parameters
    ----------
    store : RecordStore
    span : Span
    step_s : float
        Length of a step in seconds, at least 60. Steps begin at multiples of it.
    version : str, optional
        Only answers, measures and windows of this version. Default: of all.
    """
    mine = [one for one in noted_measures(store, span) if version in (None, one.version)]
    return Figures(
        span.since,
        span.until,
        step_s,
        _versions(store, span),
        _answered(store, span, step_s, version),
        _requests(store, span, step_s),
        mine,
        _windows(store, span, version),
        _alerts(store, span),
        _challenger(store),
    )


def _versions(store: RecordStore, span: Span) -> list[ServedVersion]:
    at = predictions.c.at
    query = sa.select(
        predictions.c.version, sa.func.max(predictions.c.family), sa.func.min(at), sa.func.max(at), sa.func.count()
    ).where(within(at, span))
    found: dict[str, ServedVersion] = {}
    for engine, seen_once in readings(store, predictions):
        with engine.connect() as connection:
            for version, family, first, last, count in connection.execute(
                query.where(seen_once).group_by(predictions.c.version)
            ):
                before = found.get(version, ServedVersion(version, family, first, last, 0))
                found[version] = ServedVersion(
                    version, family, min(first, before.first_at), max(last, before.last_at), before.answers + count
                )
    return sorted(found.values(), key=lambda one: -one.last_at)


def _answered(store: RecordStore, span: Span, step_s: float, version: str | None) -> list[Answered]:
    totals: dict[tuple[int, str, str], tuple[int, float]] = {}
    for engine, seen_once in readings(store, predictions):
        quotient = predictions.c.at / step_s
        # PostgreSQL rounds in a cast, and not every SQLite has floor.
        step = sa.cast(sa.func.floor(quotient) if engine.dialect.name == "postgresql" else quotient, sa.BigInteger)
        by: tuple[Any, ...] = (step.label("step"), predictions.c.version, predictions.c.sentiment)
        query = sa.select(*by, sa.func.count(), sa.func.sum(predictions.c.score))
        query = query.where(within(predictions.c.at, span), seen_once)
        if version is not None:
            query = query.where(predictions.c.version == version)
        with engine.connect() as connection:
            for place, of, sentiment, count, score in connection.execute(query.group_by(*by)):
                before = totals.get((place, of, sentiment), (0, 0.0))
                totals[place, of, sentiment] = (before[0] + count, before[1] + score)
    return [
        Answered(place * step_s, of, sentiment, count, score / count)
        for (place, of, sentiment), (count, score) in sorted(totals.items())
    ]


def _requests(store: RecordStore, span: Span, step_s: float) -> list[Requests]:
    steps: dict[int, TrafficTotal] = {}
    for minute, row in recorded_traffic(store, span):
        steps.setdefault(int(minute // step_s), TrafficTotal()).add(row)
    return [
        Requests(
            place * step_s,
            total.requests,
            total.errors,
            total.refused,
            durations.quantile(total.seconds, 0.5),
            durations.quantile(total.seconds, 0.95),
        )
        for place, total in sorted(steps.items())
    ]


def _alerts(store: RecordStore, span: Span) -> list[NotedAlert]:
    columns = [alerts.c[name] for name in NotedAlert.__struct_fields__]
    fired = (alerts.c.started_at < span.until) & (alerts.c.ended_at.is_(None) | (alerts.c.ended_at >= span.since))
    found = []
    for engine in store.engines:
        with engine.connect() as connection:
            found += [NotedAlert(*row) for row in connection.execute(sa.select(*columns).where(fired))]
    return sorted(found, key=lambda alert: -alert.started_at)


def _windows(store: RecordStore, span: Span, version: str | None) -> list[NotedWindow]:
    columns = [windows.c[name] for name in NotedWindow.__struct_fields__]
    query = sa.select(*columns).where((windows.c.until >= span.since) & (windows.c.since < span.until))
    if version is not None:
        query = query.where(windows.c.version == version)
    with store.engines[-1].connect() as connection:
        return [NotedWindow(*row) for row in connection.execute(query.order_by(windows.c.until))]


def _challenger(store: RecordStore) -> CanaryFigures | None:
    found = read_challenge(store)
    if found is None or not found.challenge.address:
        return None
    given, canary = found.challenge, found.canary
    reason = canary.reason or found.reason
    since = canary.since or found.at
    return CanaryFigures(given.share, given.clients, canary.version, canary.phase, since, found.by, reason)
