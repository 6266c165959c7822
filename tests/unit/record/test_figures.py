"""The figures that people watch, on a real SQLite file."""

from __future__ import annotations

from pathlib import Path

import pytest

from polarity.record import durations
from polarity.record.alert_book import AlertBook, Text
from polarity.record.answer import Answer, Challenge, Served, Traffic
from polarity.record.challenge import ChallengeSet, set_challenge
from polarity.record.figures import Figures, read_figures
from polarity.record.history import Span
from polarity.record.measure_book import NotedMeasure, note_measures
from polarity.record.options import RecordOptions
from polarity.record.spool import Spool
from polarity.record.store import RecordStore
from polarity.record.windows import JudgedWindow, note_window

HOUR = 3_600.0
START = 480_000 * HOUR


def answer(n: int, at: float, sentiment: str, score: float) -> Answer:
    return Answer(f"{at:014.0f}{n}", at, "a day", sentiment, score, {sentiment: score}, None, 0, 0, 0, False)


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    """Two hours of answers of one version, one of another, and two minutes of traffic."""
    path = tmp_path / "log.db"
    seconds = durations.empty()
    seconds[durations.bucket_of(0.01)] = 9
    seconds[durations.bucket_of(1.0)] = 1
    spool = Spool(path, served=Served("logistic", "1", "b:1"), texts="off", limit_bytes=2**24, evict=True)
    spool.write(
        [
            answer(0, START + 10, "positive", 0.9),
            answer(1, START + 20, "positive", 0.7),
            answer(2, START + 30, "negative", 0.6),
            answer(3, START + HOUR + 10, "negative", 0.8),
        ],
        [Traffic("m1", int(START // 60), 10, 1, 2, 0, seconds), Traffic("m2", int(START // 60) + 1, 0, 0, 0, 0, [])],
    )
    spool.close()
    spool = Spool(path, served=Served("bilstm", "2", "b:2"), texts="off", limit_bytes=2**24, evict=True)
    spool.write([answer(4, START + HOUR + 20, "negative", 0.5)], [])
    spool.close()
    return RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(path)}))


def figures(store: RecordStore, version: str | None = None) -> Figures:
    return read_figures(store, Span(START, START + 2 * HOUR), HOUR, version)


def test_answers_are_counted_by_step_version_and_sentiment(store: RecordStore) -> None:
    found = [
        (one.at - START, one.version, one.sentiment, one.answers, one.confidence) for one in figures(store).answers
    ]
    assert found == [
        (0, "1", "negative", 1, pytest.approx(0.6)),
        (0, "1", "positive", 2, pytest.approx(0.8)),
        (HOUR, "1", "negative", 1, pytest.approx(0.8)),
        (HOUR, "2", "negative", 1, pytest.approx(0.5)),
    ]
    assert [(one.version, one.family, one.answers) for one in figures(store).versions] == [
        ("2", "bilstm", 1),
        ("1", "logistic", 4),
    ]
    assert {one.version for one in figures(store, "2").answers} == {"2"}


def test_requests_are_added_up_with_the_quantiles_of_their_durations(store: RecordStore) -> None:
    (step,) = figures(store).requests
    assert (step.at, step.requests, step.errors, step.refused) == (START, 10, 1, 2)
    assert step.p50 is not None and 0.01 <= step.p50 <= 0.0126
    assert step.p95 is not None and 1.0 <= step.p95 <= 1.26


def test_of_each_hour_the_last_measure_stays(store: RecordStore) -> None:
    def measure(at: float, value: float, version: str = "1") -> NotedMeasure:
        return NotedMeasure("accuracy", "", version, START, at, value, value - 0.1, value + 0.1, 100, "labels")

    note_measures(store, [measure(START + 60, 0.7), measure(START + 60, 0.6, "2")])
    note_measures(store, [measure(START + 120, 0.8)])
    note_measures(store, [measure(START + HOUR, 0.9)])
    note_measures(store, [])
    assert [one.value for one in figures(store, "1").measures] == [0.8, 0.9]
    assert len(figures(store).measures) == 3


def test_alerts_windows_and_the_challenger_are_shown(store: RecordStore) -> None:
    book = AlertBook(store.engines[0])

    def start(rule: str, at: float) -> None:
        text = Text("s", "b")
        book.start(rule, "", severity="info", summary="3", text=text, addresses=[], now=at, cooldown_s=0.0)

    start("before", START - 10)
    book.end("before", "", text=Text("s", "b"), now=START - 5)
    start("slow", START - 10)
    start("over", START + 10)
    book.end("over", "", text=Text("s", "b"), now=START + 20)
    found = [(alert.rule, alert.ended_at) for alert in figures(store).alerts]
    assert found == [("over", START + 20), ("slow", None)]
    window = JudgedWindow("w", "1", START, START + 30, "x", 500, 1.5, "words")
    note_window(store, window, announced=True)
    assert [(one.effect, one.summary) for one in figures(store).drift] == [(1.5, "words")]
    assert figures(store).challenger is None
    set_challenge(store, ChallengeSet(Challenge("http://127.0.0.1:1", 0.5), START, "Ann", "a trial"))
    shown = figures(store).challenger
    assert shown is not None and (shown.share, shown.clients, shown.phase, shown.by) == (0.5, 0.0, "off", "Ann")
