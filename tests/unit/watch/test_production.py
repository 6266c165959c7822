"""Rules on a record: each measure, its limit, and when there is too little to tell."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polarity.record import durations
from polarity.record.answer import Answer, Served, Traffic
from polarity.record.history import Span, answers
from polarity.record.options import RecordOptions
from polarity.record.spool import Spool
from polarity.record.store import RecordStore
from polarity.watch.accuracy import accuracy_rows
from polarity.watch.drift import AnsweredTweets
from polarity.watch.expected_accuracy import REWEIGHTED, ConfidenceCalibration
from polarity.watch.production import Champion, Finding, Production
from polarity.watch.rules import Rule

NOW = 1_800_000_000.0
CHAMPION = Champion("sentiment:1", "1", 0.9)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def record(path: Path, given: list[Answer], minutes: list[Traffic] | None = None, bento: str = "sentiment:1") -> None:
    spool = Spool(path, served=Served("logistic", "1", bento), texts="off", limit_bytes=2**26, evict=True)
    spool.write(given, minutes or [])
    spool.close()


def answer(name: str, at: float, sentiment: str = "negative", source: str | None = None, **more: Any) -> Answer:
    drawn = {"draw_probability": 0.0, "drawn": False, **more}
    return Answer(name, at, "so", sentiment, 0.9, {sentiment: 0.9}, source, 0, 0, **drawn)


def minute(
    name: str, ago: int, requests: int = 100, errors: int = 0, refused: int = 0, seconds: float = 0.01
) -> Traffic:
    histogram = durations.empty()
    histogram[durations.bucket_of(seconds)] = requests
    return Traffic(name, int(NOW // 60) - ago, requests, errors, refused, 0, histogram)


def findings(path: Path, *sources: str, champion: Champion | None = CHAMPION, **rule: Any) -> list[Finding]:
    store = RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(path)}))
    production = Production(store, local=store, shipped=False, champion=lambda: champion, now=NOW)
    return production.findings(Rule(name="rule", **rule), sources)


def finding(path: Path, **rule: Any) -> Finding:
    (found,) = findings(path, **rule)
    return found


def test_answers_of_the_window_are_counted(path: Path) -> None:
    record(path, [answer(str(n), NOW - 1 - 90 * n) for n in range(4)])
    three = {"measure": "answers", "label": "negative", "at_least": 3}
    assert (finding(path, **three).measure.value, finding(path, **three).alarming) == (4, True)
    assert finding(path, **three, window="4 min").measure.value == 3
    assert finding(path, **three, window="2 min").alarming is False
    assert finding(path, measure="answers", label="positive", at_least=1).alarming is False, "none is a number"
    assert finding(path, **three).measure.in_words() == "4 negative answers within 5 min"


def test_sources_are_told_apart_and_one_that_fell_silent_is_looked_at(path: Path) -> None:
    record(path, [answer(str(n), NOW - 1, source="shop" if n else None) for n in range(4)])
    rule = {"measure": "answers", "label": "negative", "at_least": 3, "by_source": True}
    found = {each.measure.source: each.alarming for each in findings(path, "app", **rule)}
    assert found == {"": False, "shop": True, "app": False}


def test_shares_need_enough(path: Path) -> None:
    record(path, [answer(str(n), NOW - 1, "negative" if n < 6 else "positive") for n in range(10)])
    rule = {"measure": "answer_share", "label": "negative", "at_least": 0.5}
    assert finding(path, **rule).measure.value == 0.6
    assert finding(path, **rule).alarming is True
    assert finding(path, **rule, minimum=11).alarming is None


def test_requests_errors_refusals_and_latency(path: Path) -> None:
    record(path, [], [minute("a", 1, errors=4, refused=10), minute("b", 3, seconds=0.7), minute("c", 50, errors=100)])
    assert finding(path, measure="error_share", at_least=0.02).measure.value == 0.02
    assert finding(path, measure="error_share", at_least=0.02).alarming is True
    assert finding(path, measure="refused_share", at_least=0.06).alarming is False
    slow = finding(path, measure="p95_latency", at_least=0.5)
    assert slow.alarming is True
    assert slow.measure.value is not None
    assert 0.7 <= slow.measure.value <= 0.7 * 1.26
    assert finding(path, measure="requests", at_most=0).alarming is False


def test_no_traffic_is_not_no_server(path: Path) -> None:
    record(path, [], [minute("a", 1, requests=0), minute("b", 2, requests=0)])
    assert finding(path, measure="requests", at_most=0).alarming is True
    assert finding(path, measure="error_share", at_least=0.01).alarming is None, "a share of nothing"
    assert finding(path, measure="silence", at_least=180).alarming is False


def test_a_server_that_records_no_minute_is_silent(path: Path) -> None:
    record(path, [], [minute("a", 10)])
    assert finding(path, measure="requests", at_most=0).alarming is None
    assert finding(path, measure="silence", at_least=180).alarming is True


def test_another_model_than_the_champion_is_noticed(path: Path) -> None:
    rule = {"measure": "other_model_served", "window": "10 min", "at_least": 1}
    record(path, [], [minute("a", 5)], bento="sentiment:0")
    assert finding(path, **rule).alarming is True
    assert findings(path, champion=None, **rule)[0].alarming is None
    just_promoted = replace(CHAMPION, since=NOW - 599)
    assert findings(path, champion=just_promoted, **rule)[0].alarming is None, "servers take a moment to follow"
    assert findings(path, champion=replace(CHAMPION, since=NOW - 600), **rule)[0].alarming is True
    record(path, [], [minute("b", 1)])
    assert finding(path, **rule).alarming is False, "the server has followed"
    assert findings(path, champion=just_promoted, **rule)[0].alarming is False


def test_rows_that_wait_for_the_database_have_an_age(path: Path) -> None:
    record(path, [answer("a", NOW - 400)])
    local = RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(path)}))
    waiting = Production(None, local=local, shipped=True, champion=lambda: None, now=NOW)
    rule = Rule(name="r", measure="spool_age", at_least=300)
    (found,) = waiting.findings(rule)
    assert (found.measure.value, found.alarming) == (400, True)
    (away,) = waiting.findings(Rule(name="r", measure="record_away", at_least=1))
    assert away.alarming is True
    assert finding(path, measure="spool_age", at_least=300).measure.value == 0, "without a database nothing waits"


def test_an_unusual_hour_is_compared_with_the_same_hour_of_former_weeks(path: Path) -> None:
    last = NOW // 3600 * 3600 - 3600
    rows = []
    for week in range(5):
        for hours_before in range(24):
            for n in range(100):
                negative = n < (60 if week == hours_before == 0 else 30)
                at = last - 3600 * (week * 168 + hours_before) + n
                rows.append(answer(f"{at}", at, "negative" if negative else "positive"))
    record(path, rows)
    rule = {"measure": "answer_share", "label": "negative", "window": "1 h", "unusual": {}}
    found = finding(path, **rule)
    assert found.alarming is True
    assert "is usual for this hour (mean of 4 weeks: 30" in found.limit
    assert finding(path, **rule, minimum=101).alarming is None


def test_accuracy_below_the_reference_is_found_from_labels_of_the_review(path: Path) -> None:
    chance = random.Random(1)
    rows = [answer(f"{n:04}", NOW - 5_000 + n, drawn=True, draw_probability=0.1) for n in range(1_000)]
    record(path, rows)
    store = RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(path)}))
    rule: dict[str, Any] = {"measure": "accuracy", "window": "90 days", "below_reference": {}, "minimum": 50}
    assert finding(path, **rule).alarming is None, "no labels"
    right = {f"{n:04}": "negative" if chance.random() < 0.9 else "positive" for n in range(500)}
    store.add_labels(right, NOW, "review")
    good = finding(path, **rule)
    assert good.alarming is False
    assert good.measure.low is not None and good.measure.high is not None
    assert good.measure.low < 0.9 < good.measure.high
    store.add_labels(
        {f"{n:04}": "negative" if chance.random() < 0.6 else "positive" for n in range(500, 700)},
        NOW + 1,
        "volunteered",
    )
    assert finding(path, **rule).alarming is False, "what users report is no accuracy"
    store.add_labels(
        {f"{n:04}": "negative" if chance.random() < 0.6 else "positive" for n in range(700, 900)}, NOW + 1, "review"
    )
    assert finding(path, **rule).alarming is True
    assert findings(path, champion=None, **rule)[0].alarming is None
    (evidence,) = re.findall(r"evidence of a drop is ([^;]+);", finding(path, **rule).limit)
    for factor, starts, goes_on in ((0.5, True, True), (10, False, True), (1000, False, False)):
        rule["below_reference"] = {"labels_between_false_alarms": factor * float(evidence.replace(",", ""))}
        assert finding(path, **rule).alarming is starts
        assert findings(path, "", **rule)[0].alarming is goes_on, "it ends where the evidence is a hundredth"


def test_accuracy_rows_say_how_each_figure_was_got(path: Path) -> None:
    day = 86_400
    rows = [
        answer(
            f"{n:03}", NOW - day * (n % 2), source="app" if n < 100 else None, drawn=n % 2 == 0, draw_probability=0.5
        )
        for n in range(200)
    ]
    record(path, rows)
    store = RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(path)}))
    store.add_labels({f"{n:03}": "negative" if n % 10 else "positive" for n in range(0, 100, 2)}, NOW, "review")
    store.add_labels({"101": "positive"}, NOW, "volunteered")
    span = Span(0, NOW + 1)
    (whole,) = accuracy_rows(answers(store, span))
    assert (whole.answers, whole.drawn, whole.volunteered.reports) == (200, 100, 1)
    assert [estimate.labels for estimate in whole.estimates] == [50, 50]
    assert whole.estimates[0].value == 0.8
    sure = ConfidenceCalibration.fit([0.9] * 100, [True] * 85 + [False] * 15)
    by_source = accuracy_rows(answers(store, span), by="source", calibration={"1": sure}.get)
    assert [(row.slice, row.answers, len(row.estimates)) for row in by_source] == [
        ("(none named)", 100, 1),
        ("app", 100, 3),
    ]
    assert by_source[0].estimates[0].value == pytest.approx(0.85, abs=0.01)
    sure_answers = np.full((100, 2), [0.9, 0.1])
    held_out = AnsweredTweets.of(["a long day"] * 100, sure_answers, labels=np.arange(100) >= 85)
    (reweighted, _) = accuracy_rows(answers(store, span), by="source", held_out={"1": held_out}.get)
    assert [estimate.method for estimate in reweighted.estimates] == [REWEIGHTED]
    assert reweighted.estimates[0].value == pytest.approx(0.85, abs=0.03)
    daily = accuracy_rows(answers(store, span), daily=True)
    assert [row.answers for row in daily] == [100, 100]
    assert daily[0].day < daily[1].day
