"""Whether a training pays, on a real record."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from polarity.config.sections import RetrainConfig
from polarity.record.answer import Answer, Served
from polarity.record.labelled_texts import labelled_texts
from polarity.record.options import RecordOptions
from polarity.record.prediction_id import prediction_id
from polarity.record.spool import Spool
from polarity.record.store import RecordStore
from polarity.watch.worth import within_budget, worth_training

NOW = time.time()


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    """A record of 1,000 answers of version 1, 200 of which have a label and a quarter of those are wrong."""
    path = tmp_path / "log.db"
    spool = Spool(path, served=Served("logistic", "1", "b:1"), texts="masked", limit_bytes=2**24, evict=True)
    given = [
        Answer(
            prediction_id(NOW), NOW - 60, f"@me text {n}", "positive", 0.9, {"positive": 0.9}, None, 0, 0, 0.0, False
        )
        for n in range(1000)
    ]
    spool.write(given, [])
    spool.close()
    store = RecordStore(RecordOptions(prediction_log=str(path)))
    labels = {answer.id: "negative" if n % 4 == 0 else "positive" for n, answer in enumerate(given[:200])}
    store.add_labels(labels, NOW, "volunteered")
    return store


@pytest.mark.parametrize(("price", "pays"), [(6.9, True), (7.1, False)])
def test_avoidable_errors_are_weighed_against_the_price(store: RecordStore, price: float, pays: bool) -> None:
    worth = worth_training(store, "1", 0.85, RetrainConfig(price=price), NOW)
    assert worth.train == pays
    assert "of 1,000 answers a day 100.0 wrong ones are avoidable" in worth.reason
    assert f"cost 7.00 in 7 days, a training costs {price:.2f}" in worth.reason
    assert "most of which people chose to give" in worth.reason


def test_too_few_labels_decide_nothing(store: RecordStore) -> None:
    worth = worth_training(store, "1", 0.85, RetrainConfig(min_labels=201), NOW)
    assert not worth.train
    assert "has 200 labelled answers" in worth.reason


def test_cool_down_and_budget() -> None:
    config, hour = RetrainConfig(), 3600
    assert within_budget([], config, NOW).train
    assert "the cool-down is 12 h" in within_budget([NOW - hour], config, NOW).reason
    assert "3 trainings started" in within_budget([NOW - n * 24 * hour for n in (1, 2, 3)], config, NOW).reason
    assert within_budget([NOW - n * 24 * hour for n in (1, 2, 8)], config, NOW).train


def test_labelled_texts_are_those_that_were_kept(store: RecordStore) -> None:
    found = labelled_texts(store)
    assert (len(found.texts), found.without_text) == (200, 0)
    assert ("@user text 0", "negative") in found.texts
