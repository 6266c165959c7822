"""People who label get different answers, may take a label back, and agree or not; on a real SQLite file."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from polarity.record.answer import Answer, Served
from polarity.record.assignments import LEASE_S, SECOND_OPINIONS, UNDO_S, agreement, claim, label
from polarity.record.history import Span
from polarity.record.labelled_answers import labelled_answers
from polarity.record.options import RecordOptions
from polarity.record.spool import Spool
from polarity.record.store import RecordStore

NOW = time.time()
SPAN = Span(NOW - 1e6, NOW + 1e6)


def answers(count: int, *, drawn: bool, prefix: str = "a", score: float = 0.9, text: str = "a day") -> list[Answer]:
    probabilities = {"negative": 1 - score, "positive": score}
    return [
        Answer(f"{prefix}{n:04}", NOW - n, text, "positive", score, probabilities, None, 0, 0, 0.25, drawn)
        for n in range(count)
    ]


def opened(path: Path, given: list[Answer]) -> RecordStore:
    spool = Spool(path, served=Served("logistic", "1", "b:1"), texts="full", limit_bytes=2**24, evict=True)
    spool.write(given, [])
    spool.close()
    return RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(path)}))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RecordStore]:
    """A record with 60 drawn answers."""
    store = opened(tmp_path / "log.db", answers(60, drawn=True))
    yield store
    store.close()


def ids(store: RecordStore, labeller: str, limit: int = 10, now: float = NOW) -> list[str]:
    return [item.prediction_id for item in claim(store, labeller, limit, now).items]


def test_two_people_get_different_answers_and_each_keeps_hers(store: RecordStore) -> None:
    ann, bob = ids(store, "Ann"), ids(store, "Bob")
    assert len(ann) == len(bob) == 10 and not set(ann) & set(bob)
    assert ids(store, "Ann") == ann, "after a reload of the page, too"


def test_skipped_answers_go_to_somebody_else_and_do_not_come_back(store: RecordStore) -> None:
    skipped = ids(store, "Ann")
    assert not set(skipped) & {item.prediction_id for item in claim(store, "Ann", 20, NOW, skipped=skipped).items}
    assert set(skipped) <= set(ids(store, "Bob", limit=20))


def test_an_answer_that_nobody_labels_is_given_to_somebody_else_when_the_lease_ends(store: RecordStore) -> None:
    ann = ids(store, "Ann")
    assert set(ids(store, "Bob", now=NOW + LEASE_S + 1)) == set(ann)
    assert label(store, "Ann", ann[0], "positive") == "unknown", "it is Bob's now"


def test_many_people_at_once_label_everything_once(store: RecordStore) -> None:
    got: dict[str, list[str]] = {}

    def work(name: str) -> None:
        mine = got.setdefault(name, [])
        while items := [item for item in claim(store, name, 4).items if item.purpose != "agreement"]:
            for item in items:
                assert label(store, name, item.prediction_id, "positive") == "new"
                mine.append(item.prediction_id)

    threads = [threading.Thread(target=work, args=(f"person {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [name for mine in got.values() for name in mine]
    assert len(everything) == len(set(everything)) == 60
    assert {answer.prediction_id for answer in labelled_answers(store, SPAN, 100)} == set(everything)
    assert sum(agreement(store).labels.values()) == 60


def test_labels_of_drawn_answers_are_of_the_review_and_can_be_taken_back(store: RecordStore) -> None:
    first = ids(store, "Ann", 1)[0]
    assert label(store, "Ann", first, "negative", NOW) == "new"
    assert label(store, "Ann", first, "negative", NOW) == "same"
    assert label(store, "Ann", first, "positive", NOW) == "other"
    assert [(a.prediction_id, a.label, a.origin) for a in labelled_answers(store, SPAN, 10)] == [
        (first, "negative", "review")
    ]
    assert label(store, "Ann", first, None, NOW + 1) == "new"
    assert labelled_answers(store, SPAN, 10) == []
    assert ids(store, "Ann", 1, NOW + 2) == [first], "it is hers again"
    assert label(store, "Ann", first, "positive", NOW + 3) == "new"
    assert label(store, "Ann", first, None, NOW + 4 + UNDO_S) == "unknown", "too late"


def test_what_nobody_asked_for_cannot_be_labelled_by_somebody_else(store: RecordStore) -> None:
    first = ids(store, "Ann", 1)[0]
    assert label(store, "Bob", first, "negative") == "unknown"
    assert label(store, "Ann", "no such answer", "negative") == "unknown"


def test_a_label_that_was_asked_for_replaces_one_that_a_user_volunteered_meanwhile(store: RecordStore) -> None:
    first, second = ids(store, "Ann", 2)
    assert store.add_feedback(first, "positive", NOW) == "new"
    assert first in ids(store, "Ann", 2), "users report mistakes: without these answers the sample would look too good"
    assert label(store, "Ann", first, "negative") == "new"
    assert first not in ids(store, "Ann", 2)
    assert label(store, "Ann", second, "positive") == "new"
    found = {answer.prediction_id: (answer.label, answer.origin) for answer in labelled_answers(store, SPAN, 10)}
    assert found[first] == ("negative", "review")


def test_after_the_drawn_ones_come_the_unsure_and_the_unusual_by_turns(tmp_path: Path) -> None:
    given = [
        *answers(2, drawn=True, prefix="drawn"),
        *answers(5, drawn=False, prefix="sure", score=0.99),
        *answers(3, drawn=False, prefix="unsure", score=0.51),
    ]
    store = opened(tmp_path / "log.db", given)
    items = claim(store, "Ann", 4).items
    assert [item.purpose for item in items] == ["accuracy", "accuracy", "unsure", "unsure"]
    assert [item.prediction_id[:6] for item in items[2:]] == ["unsure", "unsure"]
    assert label(store, "Ann", items[2].prediction_id, "negative") == "new"
    assert [answer.origin for answer in labelled_answers(store, SPAN, 10)] == ["queue"], "not part of any accuracy"


def test_answers_without_a_text_are_not_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    spool = Spool(path, served=Served("logistic", "1", "b:1"), texts="off", limit_bytes=2**24, evict=True)
    spool.write(answers(5, drawn=True), [])
    spool.close()
    found = claim(RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(path)})), "Ann", 5)
    assert found.waiting == 5 and found.items == []


def test_one_answer_in_ten_gets_a_second_opinion_that_changes_no_label(store: RecordStore) -> None:
    for name in ids(store, "Ann", 60, NOW):
        assert label(store, "Ann", name, "positive", NOW) == "new"
    again = claim(store, "Bob", 20, NOW)
    expected = {f"a{n:04}" for n in range(60) if zlib.crc32(f"a{n:04}".encode()) % SECOND_OPINIONS == 0}
    assert {item.prediction_id for item in again.items} == expected and expected
    assert {item.purpose for item in again.items} == {"agreement"}
    for place, item in enumerate(again.items):
        assert label(store, "Bob", item.prediction_id, "negative" if place == 0 else "positive", NOW) == "new"
    found = agreement(store)
    assert (found.pairs, found.agreeing) == (len(expected), len(expected) - 1)
    assert found.labels == {"Ann": 60, "Bob": len(expected)}
    assert {answer.label for answer in labelled_answers(store, SPAN, 100)} == {"positive"}
    assert claim(store, "Ann", 20, NOW).items == [], "nobody gives a second opinion on her own labels"


def test_forgetting_an_answer_forgets_who_labelled_it(store: RecordStore) -> None:
    first = ids(store, "Ann", 1)[0]
    label(store, "Ann", first, "positive", NOW)
    store.forget_predictions([first])
    assert agreement(store).labels == {}
