"""Labels from a file, for predictions in a real SQLite file."""

from __future__ import annotations

import csv
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from polarity.config.sections import LabelFileConfig
from polarity.errors import ConfigurationError, DataRejected
from polarity.record.answer import Answer, Served
from polarity.record.options import RecordOptions, Texts
from polarity.record.spool import Spool
from polarity.record.store import RecordStore
from polarity.watch.label_file import LabelImport, import_labels

TEXTS = {"p1": "@ann so good", "p2": "so sad", "p3": "so sad", "p4": "so, so"}


def record(path: Path, texts: Texts = "full") -> RecordStore:
    spool = Spool(path, served=Served("logistic", "1", "b:1"), texts=texts, limit_bytes=2**24, evict=True)
    probabilities = {"negative": 0.2, "positive": 0.8}
    spool.write(
        [
            Answer(name, time.time(), text, "positive", 0.8, probabilities, None, 0, 0, 0, False)
            for name, text in TEXTS.items()
        ]
    )
    spool.close()
    return RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(path)}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[RecordStore]:
    store = record(path)
    yield store
    store.close()


def write(path: Path, *rows: tuple[str, str], header: tuple[str, str] = ("prediction_id", "label")) -> LabelFileConfig:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return LabelFileConfig(path=path)


def labels_in(path: Path) -> dict[str, str]:
    with sqlite3.connect(path) as connection:
        return dict(connection.execute("SELECT prediction_id, label FROM feedback"))


def check_sum(done: LabelImport) -> None:
    assert done.rows == done.stored + done.known + sum(done.left_out.values())


def test_every_row_is_stored_or_left_out_with_a_reason_and_a_second_time_changes_nothing(
    store: RecordStore, path: Path, tmp_path: Path
) -> None:
    config = write(
        tmp_path / "labels.csv",
        ("p1", "pos"), ("p2", "NEGATIVE"), (" p4 ", "positive"), ("p1", "negative"), ("px", "negative"),
        ("", "positive"), ("p3", ""), ("p3", "angry"),
    )  # fmt: skip
    first = import_labels(config, store)
    check_sum(first)
    assert (first.rows, first.stored, first.known, first.predictions) == (8, 3, 0, 3)
    assert first.left_out == {
        "the prediction already has a different label": 1,
        "no recorded prediction has this id": 1,
        "the prediction id is missing": 1,
        "the label is missing": 1,
        "the label 'angry' is none of ['negative', 'positive']": 1,
    }
    assert first.examples["no recorded prediction has this id"] == 5
    stored = labels_in(path)
    assert stored == {"p1": "positive", "p2": "negative", "p4": "positive"}
    second = import_labels(config, store)
    check_sum(second)
    assert (second.stored, second.known, second.left_out) == (0, 3, first.left_out)
    assert labels_in(path) == stored


@pytest.mark.parametrize("texts", ["full", "masked"])
def test_a_text_labels_every_prediction_of_it(tmp_path: Path, texts: Texts) -> None:
    store = record(tmp_path / "log.db", texts)
    rows = [("@ann so good", "positive"), ("so sad", "negative"), ("never asked", "negative")]
    config = write(tmp_path / "labels.tsv", *rows, header=("tweet", "sentiment"))
    done = import_labels(config, store)
    check_sum(done)
    assert (done.stored, done.predictions, done.left_out) == (2, 3, {"no recorded prediction has this text": 1})
    assert labels_in(tmp_path / "log.db") == {"p1": "positive", "p2": "negative", "p3": "negative"}
    assert (import_labels(config, store).known, import_labels(config, store).predictions) == (2, 0)
    store.close()


def test_codes_are_read_as_a_column_and_json_lines_too(store: RecordStore, path: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text(
        "".join(json.dumps({"prediction_id": name, "label": code}) + "\n" for name, code in (("p1", 4), ("p2", 0)))
    )
    assert import_labels(LabelFileConfig(path=file), store).stored == 2
    assert labels_in(path) == {"p1": "positive", "p2": "negative"}


def test_more_rows_than_one_step_add_up(store: RecordStore, tmp_path: Path) -> None:
    rows = [(f"x{n}", "positive") for n in range(4_500)] + [("p1", "positive")]
    done = import_labels(write(tmp_path / "labels.csv", *rows), store)
    check_sum(done)
    assert (done.rows, done.stored) == (4_501, 1)


def test_what_cannot_be_imported_is_said(store: RecordStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"set --data\.path to a file"):
        import_labels(LabelFileConfig(), store)
    with pytest.raises(DataRejected, match="no text column found; the columns are 'a', 'label'"):
        import_labels(write(tmp_path / "labels.csv", ("x", "positive"), header=("a", "label")), store)
    empty = RecordStore(RecordOptions.read({"POLARITY_PREDICTION_LOG": str(tmp_path / "empty.db")}))
    with pytest.raises(DataRejected, match="The record holds no prediction yet"):
        import_labels(write(tmp_path / "more.csv", ("p1", "positive")), empty)


def test_the_files_of_a_folder_are_imported_together(path: Path, store: RecordStore, tmp_path: Path) -> None:
    """Their labels are judged as one column, whatever the columns of a file are called and whether they hold ids."""
    folder = tmp_path / "labels"
    folder.mkdir()
    write(folder / "b.csv", ("p1", "4"), ("p9", "4"))
    write(folder / "a.csv", ("so sad", "0"), ("so, so", ""), header=("text", "sentiment"))
    done = import_labels(LabelFileConfig(path=folder), store)
    assert (done.rows, done.stored, done.predictions) == (4, 2, 3)
    assert labels_in(path) == {"p1": "positive", "p2": "negative", "p3": "negative"}
    assert done.examples == {"the label is missing": 2, "no recorded prediction has this id": 4}
    assert done.matched_by == "the text in the column 'text' or the id in the column 'prediction_id'"
