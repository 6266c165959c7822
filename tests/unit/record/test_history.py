"""What was recorded in a span of time, read from a real SQLite file; test_record.py reads PostgreSQL."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from polarity.record import durations
from polarity.record.answer import Answer, Served, Traffic
from polarity.record.history import (
    Span,
    answer_counts,
    answer_numbers,
    answers,
    hourly_counts,
    last_label_at,
    last_minute,
    reviewed_answers,
    traffic_total,
)
from polarity.record.options import RecordOptions
from polarity.record.spool import Spool
from polarity.record.status import record_status
from polarity.record.store import RecordStore

HOUR = 3_600.0
NOW = 500_000 * HOUR + 1_800  # in the middle of an hour


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    """Six answers, one every half an hour, of which every second was drawn; and two minutes of traffic."""
    path = tmp_path / "log.db"
    spool = Spool(path, served=Served("logistic", "1", "sentiment:1"), texts="off", limit_bytes=2**24, evict=True)
    sentiments = ["negative", "positive", "negative", "positive", "negative", "negative"]
    spool.write(
        [
            Answer(
                str(n), NOW - n * HOUR / 2, "so", sentiment, 0.8, {sentiment: 0.8}, "shop" if n % 3 else None, 0, 0,
                0.1, n % 2 == 0,
            )
            for n, sentiment in enumerate(sentiments)
        ],
        [
            Traffic("a", int(NOW // 60) - 1, 10, 1, 3, 2, [5, *durations.empty()[1:]]),
            Traffic("b", int(NOW // 60) - 90, 7, 0, 0, 0, durations.empty()),
        ],
    )  # fmt: skip
    spool.close()
    return RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(path)}))


def test_counts_are_of_the_span_alone(store: RecordStore) -> None:
    last_hour = answer_counts(store, Span(NOW - HOUR, NOW + 1))
    assert last_hour == {("", "negative"): 1, ("shop", "positive"): 1, ("shop", "negative"): 1}
    assert answer_counts(store, Span(NOW - HOUR, NOW)).total() == 2, "without its end"
    assert answer_numbers(store, Span(0, NOW + 1), "1") == (6, 3)
    assert answer_numbers(store, Span(0, NOW + 1), "2") == (0, 0)


def test_hours_are_those_of_the_clock(store: RecordStore) -> None:
    hour = int(NOW // HOUR)
    hours = hourly_counts(store, hour - 9, hour + 1, NOW + 1)
    assert {hour - 500_000: dict(counts) for hour, counts in hours.items()} == {
        0: {"negative": 1, "positive": 1},  # 500,000:30 and :00
        -1: {"negative": 1, "positive": 1},
        -2: {"negative": 2},
    }


def test_hours_that_have_been_over_for_an_hour_are_counted_once(store: RecordStore) -> None:
    hour = int(NOW // HOUR)
    before = hourly_counts(store, hour - 9, hour + 1, NOW + 1)
    store.forget_predictions([str(n) for n in range(6)])
    kept = hourly_counts(store, hour - 12, hour + 1, NOW + 1)
    assert kept == {hour - 2: before[hour - 2]}, "the hours after it are not settled yet"
    assert hourly_counts(store, hour - 9, hour - 2, NOW + 1) == {}
    store.forget_before(NOW)
    assert hourly_counts(store, hour - 9, hour + 1, NOW + 1) == {}, "counts are forgotten with what they count"


def test_traffic_adds_up(store: RecordStore) -> None:
    both, one = traffic_total(store, Span(NOW - 2 * HOUR, NOW)), traffic_total(store, Span(NOW - HOUR, NOW))
    assert (both.minutes, both.requests, one.requests) == (2, 17, 10)
    assert (one.errors, one.refused, one.overloaded, sum(one.seconds)) == (1, 3, 2, 5)
    assert one.bentos == {"sentiment:1"}
    assert last_minute(store) == ((NOW // 60 - 1) * 60, "sentiment:1")


def test_only_labels_of_drawn_answers_that_a_review_gave_count(store: RecordStore) -> None:
    assert last_label_at(store) is None
    assert store.add_labels({"0": "negative", "1": "negative"}, NOW + 5, "review") == {"0": "new", "1": "new"}
    store.add_labels({"2": "positive"}, NOW + 3, "volunteered")
    store.add_labels({"4": "positive"}, NOW + 4, "review")
    span = Span(0, NOW + 1)
    assert [(a.id, a.label) for a in reviewed_answers(store, span, "1")] == [("4", "positive"), ("0", "negative")]
    assert {a.id for a in answers(store, span, labelled=True)} == {"0", "1", "2", "4"}
    assert len(list(answers(store, span))) == 6
    assert last_label_at(store) == NOW + 5


def test_status_says_what_an_operator_asks_first(store: RecordStore) -> None:
    found = record_status(store, NOW + 1)
    assert (found.served, found.served_since) == ("sentiment:1", (NOW // 60 - 90) * 60)
    assert (found.requests, found.errors, found.refused) == (10, 1, 3)
    assert found.answers == {"negative": 1, "positive": 1}
    assert (found.waiting, found.to_review, found.alerts, found.unsent) == (0, 3, [], 0)


def test_an_empty_record_has_a_status(tmp_path: Path) -> None:
    found = record_status(RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(tmp_path / "l.db")})))
    assert (found.served, found.last_minute_at, found.last_label_at, found.p95_latency) == (None, None, None, None)
    assert found.at <= time.time()
