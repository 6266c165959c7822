"""The prediction log on real SQLite files."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from polarity.errors import ConfigurationError, ServiceUnavailable
from polarity.record.log_store import LogStore, Row, SqliteStore, open_store
from polarity.record.prediction_log import PredictionLog


def row(name: str, text: str | None = None) -> Row:
    return Row(
        name,
        time.time(),
        5,
        text,
        "positive",
        0.9,
        {"negative": 0.1, "positive": 0.9},
        "logistic",
        "1",
        "b:1",
    )


def rows_of(path: Path) -> list[tuple[str, str | None]]:
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT id, text FROM predictions ORDER BY id").fetchall()


def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("It did not happen within 5 s.")


def opener(path: Path) -> Callable[[], LogStore]:
    return lambda: SqliteStore(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "predictions.db"


def test_rows_are_written_and_close_writes_the_rest(path: Path) -> None:
    log = PredictionLog(opener(path))
    for n in range(2500):
        log.add(row(f"{n:04}", "a tweet" if n == 7 else None))
    log.close()
    kept = rows_of(path)
    assert len(kept) == 2500 == log.written and log.dropped == 0
    assert kept[7] == ("0007", "a tweet") and kept[8] == ("0008", None)


def test_repeated_and_conflicting_feedback_is_recognised(path: Path) -> None:
    log = PredictionLog(opener(path))
    log.add(row("known"))

    async def outcomes() -> list[str]:
        return [
            await log.feedback("known", "positive"),
            await log.feedback("known", "positive"),
            await log.feedback("known", "negative"),
            await log.feedback("unknown", "positive"),
        ]

    assert asyncio.run(outcomes()) == ["new", "same", "other", "unknown"]
    log.close()


def test_feedback_finds_another_workers_recent_prediction(path: Path) -> None:
    one, other = PredictionLog(opener(path)), PredictionLog(opener(path))

    async def outcome() -> str:
        one.add(row("fresh"))
        return await other.feedback("fresh", "negative")

    assert asyncio.run(outcome()) == "new"
    one.close()
    other.close()


def test_locked_store_delays_rows_but_never_the_caller(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polarity.record.log_store._BUSY_TIMEOUT_S", 0.05)
    SqliteStore(path).close()
    log = PredictionLog(opener(path), limit=10)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    for n in range(12):
        log.add(row(f"{n:02}"))
    until(lambda: log.dropped == 2)
    assert log.written == 0
    lock.execute("COMMIT")
    lock.close()
    until(lambda: log.written == 10)
    log.add(row("after"))
    log.close()
    assert len(rows_of(path)) == 11


def test_store_that_cannot_be_opened_fails_only_feedback(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("no folder")
    log = PredictionLog(opener(tmp_path / "a file" / "predictions.db"))
    log.add(row("lost"))
    with pytest.raises(ServiceUnavailable):
        asyncio.run(log.feedback("lost", "positive"))
    log.close()


@pytest.mark.parametrize(
    ("text", "kept"),
    [("\ud800 alone", "? alone"), ("nul \x00", "nul \ufffd"), ("😀", "😀")],
    ids=ascii,
)
def test_text_that_a_database_rejects_does_not_stop_the_log(path: Path, text: str, kept: str) -> None:
    log = PredictionLog(opener(path))
    log.add(row("odd", text))
    log.add(row("plain", "x"))
    log.close()
    assert rows_of(path) == [("odd", kept), ("plain", "x")]


def test_row_is_stored_unchanged(path: Path) -> None:
    store = SqliteStore(path)
    given = row("a", 'quotes " and \\ and 😀')
    store.write([given])
    store.close()
    with sqlite3.connect(path) as connection:
        (kept,) = connection.execute("SELECT * FROM predictions").fetchall()
    assert kept == (*given[:6], '{"negative":0.1,"positive":0.9}', *given[7:])


def test_duplicate_row_is_stored_once(path: Path) -> None:
    store = SqliteStore(path)
    store.write([row("a", "first")])
    store.write([row("a", "second"), row("b")])
    store.close()
    assert rows_of(path) == [("a", "first"), ("b", None)]


def test_url_selects_the_store(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/log.db")
    store.close()
    assert (tmp_path / "log.db").is_file()
    with pytest.raises(ConfigurationError, match="mysql://"):
        open_store("mysql://host/db")
