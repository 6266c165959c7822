"""What is read from the record and deleted from it, on a real SQLite file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polarity.record import durations
from polarity.record.answer import Answer, Mirrored, Served, Traffic
from polarity.record.options import RecordOptions
from polarity.record.retention import prune
from polarity.record.spool import Spool
from polarity.record.store import Forgotten, RecordStore

DAY_S = 86_400.0
NOW = time.time()
TEXTS = {
    "a": "@Ann_1 is great",
    "b": "thanks @ann_1!",
    "c": "@ann_11 is somebody else",
    "d": "mail me: x@ann_1.org",
    "e": "100 % @ann",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with five predictions, one a day, three of them drawn, one labelled, and a minute of traffic."""
    path = tmp_path / "log.db"
    spool = Spool(path, served=Served("logistic", "1", "b:1"), texts="full", limit_bytes=2**24, evict=True)
    spool.write(
        [
            Answer(name, NOW - n * DAY_S, text, "positive", 0.9, {"positive": 0.9}, None, 0, 0, 0.25, n < 3)
            for n, (name, text) in enumerate(TEXTS.items())
        ],
        [Traffic("m", int((NOW - 2 * DAY_S) // 60), 1, 0, 0, 0, durations.empty())],
    )
    spool.close()
    store = RecordStore(options(path))
    assert store.add_feedback("b", "negative", NOW, "review") == "new"
    store.close()
    return path


def options(path: Path, **given: str) -> RecordOptions:
    return RecordOptions.read({"POLARITY_PREDICTION_LOG": str(path), **given})


def remaining(path: Path) -> dict[str, list[str]]:
    with sqlite3.connect(path) as connection:
        return {
            table: [name for (name,) in connection.execute(f"SELECT {key} FROM {table} ORDER BY {key}")]
            for table, key in (("predictions", "id"), ("feedback", "prediction_id"), ("traffic", "id"))
        }


def test_predictions_are_forgotten_with_their_labels(path: Path) -> None:
    store = RecordStore(options(path))
    assert store.forget_predictions(["b", "e", "unknown"]) == Forgotten(2, 1)
    assert store.forget_predictions(["b", "e", "unknown"]) == Forgotten()
    assert remaining(path) == {"predictions": ["a", "c", "d"], "feedback": [], "traffic": ["m"]}


@pytest.mark.parametrize("name", ["@ann_1", "ANN_1"])
def test_a_mention_is_that_user_and_nobody_else(path: Path, name: str) -> None:
    assert RecordStore(options(path)).forget_mention(name) == Forgotten(2, 1)
    assert remaining(path)["predictions"] == ["c", "d", "e"], "wildcards of SQL are characters here"


def test_everything_before_a_time_is_forgotten(path: Path) -> None:
    assert RecordStore(options(path)).forget_before(NOW - 1.5 * DAY_S) == Forgotten(3, 0, 1)
    assert remaining(path) == {"predictions": ["a", "b"], "feedback": ["b"], "traffic": []}


def test_old_rows_are_pruned(path: Path) -> None:
    assert prune(options(path, POLARITY_LOG_KEEP_DAYS="0.5")) == Forgotten(4, 1, 1)
    assert prune(options(path, POLARITY_LOG_KEEP_DAYS="0.5")) == Forgotten()
    assert remaining(path)["predictions"] == ["a"]


def test_review_lists_what_was_drawn_and_has_no_label(path: Path) -> None:
    review = RecordStore(options(path)).review(1)
    assert review.waiting == 2, "b has a label, d and e were not drawn"
    (item,) = review.items
    assert (item.prediction_id, item.text, item.sentiment, item.draw_probability) == (
        "a",
        TEXTS["a"],
        "positive",
        0.25,
    )


def test_what_users_report_is_asked_about_all_the_same(path: Path) -> None:
    store = RecordStore(options(path))
    assert store.add_labels({"a": "negative", "b": "negative"}, NOW, "volunteered") == {"a": "new", "b": "same"}
    assert [item.prediction_id for item in store.review(10).items] == ["a", "c"]
    # The label of a person who was asked stands against that of a user, and not the other way round.
    assert store.add_feedback("a", "positive", NOW, "review") == "new"
    assert store.add_feedback("a", "negative", NOW, "volunteered") == "other"
    assert store.add_feedback("a", "negative", NOW, "review") == "other"
    assert [item.prediction_id for item in store.review(10).items] == ["c"]
    assert remaining(path)["feedback"] == ["a", "b"]
    store.close()


def test_disagreements_come_first_and_leave_half_of_the_places(path: Path) -> None:
    spool = Spool(path, served=Served("logistic", "1", "b:1"), texts="full", limit_bytes=2**24, evict=True)
    # b has a label already.
    spool.write([], (), [Mirrored(name, "2", NOW, "negative", 0.8, 0.95, True) for name in ("b", "d", "e")])
    spool.close()
    store = RecordStore(options(path))
    review = store.review(2)
    assert review.waiting == 4
    assert [(i.prediction_id, i.purpose, i.draw_probability) for i in review.items] == [
        ("d", "comparison", 0.95),
        ("a", "accuracy", 0.25),
    ]
    assert [item.prediction_id for item in store.review(10).items] == ["d", "e", "a", "c"]
    store.forget_predictions(["d"])
    store.forget_before(NOW - 3.5 * DAY_S)
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT prediction_id FROM mirrored").fetchall() == [("b",)]


def forget(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polarity", "forget", *arguments],
        env={"PATH": "", "HOME": str(path.parent), "PYTHONPATH": "src:.", "POLARITY_PREDICTION_LOG": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_says_how_many(path: Path) -> None:
    done = forget(path, "--mention", "@ann_1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"2 predictions and 1 labels have been deleted from '{path}'.\n"


def test_the_command_refuses_what_is_no_date_and_no_record(path: Path, tmp_path: Path) -> None:
    done = forget(path, "--before", "yesterday")
    assert done.returncode == 2 and "Got --before 'yesterday'; write a date, such as 2026-11-30." in done.stderr
    done = forget(tmp_path / "none.db", "--prediction", "a")
    assert done.returncode == 2 and f"There is no record in '{tmp_path / 'none.db'}'" in done.stderr
