"""A week of production in a record: generated tweets, answers of two versions, labels, traffic, estimates, a drift."""

from __future__ import annotations

import random
import time
from pathlib import Path

from polarity.data.corpus import generate_tweets
from polarity.record import durations
from polarity.record.answer import Answer, Served, Traffic
from polarity.record.measure_book import NotedMeasure, note_measures
from polarity.record.options import RecordOptions
from polarity.record.prediction_id import prediction_id
from polarity.record.spool import Spool
from polarity.record.store import RecordStore
from polarity.record.windows import JudgedWindow, note_window

LABELS = ("negative", "positive")
_WEEK_S, _DAY_S = 7 * 86_400.0, 86_400.0
_OLD, _NEW = Served("logistic", "6", "sentiment:six"), Served("logistic", "7", "sentiment:seven")


def record_week(path: Path, *, answers: int = 4_000, seed: int = 18) -> None:
    """Write it into the file at `path`; the last answer is an hour old."""
    draw, until = random.Random(seed), time.time() - 3_600
    given, truth = [], {}
    rows = generate_tweets(rows=answers, labels=LABELS, seed=seed).to_pylist()
    for number, row in enumerate(rows):
        if not row["text"] or row["label"] not in LABELS:
            continue
        at = until - _WEEK_S * (answers - number) / answers
        score = 1 - 0.5 * draw.random() ** 1.5
        right = draw.random() < score
        sentiment = row["label"] if right else next(label for label in LABELS if label != row["label"])
        probabilities = {label: score if label == sentiment else 1 - score for label in LABELS}
        name, drawn = prediction_id(at), draw.random() < 0.1
        model = _OLD if number < answers // 2 else _NEW
        source = draw.choice(("web", "app", None))
        given.append(
            Answer(name, at, row["text"], sentiment, score, probabilities, source, 0.0002, 0.0004, 0.1, drawn, model)
        )
        if drawn and at < until - _DAY_S:
            truth[name] = row["label"]
    spool = Spool(path, served=_NEW, texts="masked", limit_bytes=2**28, evict=True)
    spool.write(given, [_minute(until - _WEEK_S * n / 1_000, draw) for n in range(1_000)])
    spool.close()
    store = RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(path)}))
    store.add_labels(truth, until, "review")
    note_measures(store, [_accuracy(until - hours * 3_600, draw) for hours in range(0, 7 * 24, 6)])
    for day in range(6):
        end = until - (6 - day) * _DAY_S
        effect = 1.4 if day == 5 else 0.3 + 0.1 * day
        found = "the share of positive answers rose" if day == 5 else "nothing moved more than chance"
        window = JudgedWindow(f"7-{day}", "7", end - _DAY_S / 2, end, f"{day}", 500, effect, found)
        note_window(store, window, announced=True)
    store.close()


def _minute(at: float, draw: random.Random) -> Traffic:
    requests = draw.randrange(2, 9)
    seconds = durations.empty()
    for _ in range(requests):
        seconds[durations.bucket_of(draw.lognormvariate(-6, 0.5))] += 1
    refused, errors = int(draw.random() < 0.1), int(draw.random() < 0.01)
    return Traffic(prediction_id(at), int(at // 60), requests, errors, refused, 0, seconds)


def _accuracy(at: float, draw: random.Random) -> NotedMeasure:
    value = 0.78 + draw.uniform(-0.01, 0.01)
    return NotedMeasure("accuracy", "", "7", at - _WEEK_S, at, value, value - 0.03, value + 0.03, 340, "labels alone")
