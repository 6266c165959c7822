"""The state of the record on one screen: what is served, the last hour, what waits, what fires."""

from __future__ import annotations

import time

import msgspec

from polarity.record import durations
from polarity.record.alert_book import AlertBook
from polarity.record.history import (
    SECONDS_PER_HOUR,
    Span,
    answer_counts,
    first_minute,
    last_label_at,
    last_minute,
    traffic_total,
    waiting_rows,
)
from polarity.record.store import RecordStore


class FiringAlert(msgspec.Struct, frozen=True):
    """An alert that fires; `since` is in seconds since 1970."""

    rule: str
    source: str
    severity: str
    summary: str
    since: float


class RecordStatus(msgspec.Struct, frozen=True):
    """The most important facts for an operator. Times are in seconds since 1970; None means never.

    Attributes
    ----------
    served : str or None
        The Bento of the last recorded minute.
    served_since : float or None
        The first recorded minute of this Bento.
    last_minute_at : float or None
        The last recorded minute: a server process records one, whether it has requests or not.
    requests, errors, refused : int
        Of the last hour.
    p95_latency : float or None
        Of the last hour, in seconds.
    answers : dict
        Number of answers of the last hour by sentiment.
    waiting : int
        Rows that wait in the local file for the database.
    oldest_waiting_s : float
        Age of the oldest of them.
    last_label_at : float or None
    to_review : int
        Answers that were drawn for labelling and have no label.
    alerts : list of FiringAlert
    unsent : int
        Notices that no receiver has accepted yet.
    """

    at: float
    served: str | None
    served_since: float | None
    last_minute_at: float | None
    requests: int
    errors: int
    refused: int
    p95_latency: float | None
    answers: dict[str, int]
    waiting: int
    oldest_waiting_s: float
    last_label_at: float | None
    to_review: int
    alerts: list[FiringAlert]
    unsent: int


def record_status(store: RecordStore, now: float | None = None) -> RecordStatus:
    """Read the status.

    Parameters
    ----------
    store : RecordStore
    now : float, optional
        Seconds since 1970.
    """
    now = time.time() if now is None else now
    hour = Span(now - SECONDS_PER_HOUR, now)
    total = traffic_total(store, hour)
    sentiments: dict[str, int] = {}
    for (_, sentiment), count in answer_counts(store, hour).items():
        sentiments[sentiment] = sentiments.get(sentiment, 0) + count
    latest = last_minute(store)
    waiting, oldest = waiting_rows(store) if len(store.engines) > 1 else (0, None)
    books = [AlertBook(engine) for engine in store.engines]
    firing = sorted((alert for book in books for alert in book.firing()), key=lambda alert: -alert.started_at)
    return RecordStatus(
        at=now,
        served=latest[1] if latest else None,
        served_since=first_minute(store, latest[1]) if latest else None,
        last_minute_at=latest[0] if latest else None,
        requests=total.requests,
        errors=total.errors,
        refused=total.refused,
        p95_latency=durations.quantile(total.seconds, 0.95),
        answers=dict(sorted(sentiments.items())),
        waiting=waiting,
        oldest_waiting_s=max(0.0, now - oldest) if oldest is not None else 0.0,
        last_label_at=last_label_at(store),
        to_review=store.review(1).waiting,
        alerts=[FiringAlert(a.rule, a.source, a.severity, a.summary, a.started_at) for a in firing],
        unsent=sum(book.waiting() for book in books),
    )
