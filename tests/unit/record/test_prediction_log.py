"""The prediction log with its recorder process, on real SQLite files."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from polarity.record.answer import Answer, Served
from polarity.record.options import RecordOptions
from polarity.record.prediction_log import PredictionLog, RecordUnavailable
from polarity.record.schema import predictions
from polarity.record.spool import local_engine

SERVED = Served("logistic", "1", "b:1")


def answer(name: str, text: str = "a tweet") -> Answer:
    return Answer(
        name, time.time(), text, "positive", 0.9, {"negative": 0.1, "positive": 0.9}, "app", 0.01, 0.02, 0.5, True
    )


def rows_of(path: Path) -> list[tuple[str, str | None]]:
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT id, text FROM predictions ORDER BY id").fetchall()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("It did not happen within 15 s.")


@asynccontextmanager
async def started(path: Path, *, limit: int = 50_000, **settings: str) -> AsyncIterator[PredictionLog]:
    given = {"POLARITY_PREDICTION_LOG": str(path), "POLARITY_LOG_TEXTS": "full", "POLARITY_LOG_DURABLE": "true"}
    environment = {**os.environ, **given, **settings}
    log = PredictionLog(RecordOptions.read(environment), SERVED, limit=limit, environment=environment)
    await log.start()
    try:
        yield log
    finally:
        await log.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "predictions.db"


@pytest.mark.parametrize("durable", ["true", "false"])
def test_rows_are_written_and_close_writes_the_rest(path: Path, durable: str) -> None:
    async def scenario() -> PredictionLog:
        async with started(path, POLARITY_LOG_DURABLE=durable) as log:
            for n in range(2500):
                log.add(answer(f"{n:04}"))
        return log

    log = asyncio.run(scenario())
    assert [name for name, _ in rows_of(path)] == [f"{n:04}" for n in range(2500)]
    assert log.written == 2500 and log.dropped == 0
    assert path.stat().st_mode & 0o077 == 0, "only its owner may read the log"


def test_a_stored_answer_is_in_the_file_at_once(path: Path) -> None:
    async def scenario() -> None:
        async with started(path) as log:
            for n in range(5):
                log.add(answer(str(n)))
                stored = log.stored()
                assert stored is not None
                await stored
                assert len(rows_of(path)) == n + 1
            assert log.stored() is None, "nothing was added since"

    asyncio.run(scenario())


def test_a_future_has_its_value_when_the_answers_before_it_are_stored(path: Path) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with started(path) as log:
            log.add(answer("a"))
            first, second = loop.create_future(), loop.create_future()
            assert log.settle(first, "one") and log.settle(second, "two")
            assert not first.done()
            second.cancel()  # its client has gone
            assert await first == "one"
            assert len(rows_of(path)) == 1
            at_once = loop.create_future()
            assert not log.settle(at_once, "three"), "nothing was added since"
            assert at_once.result() == "three"

    asyncio.run(scenario())


def test_a_killed_recorder_is_replaced_and_nothing_is_lost_or_stored_twice(path: Path) -> None:
    async def scenario() -> None:
        async with started(path) as log:
            for n in range(300):
                log.add(answer(f"{n:03}"))
                stored = log.stored()
                if n in (100, 101, 200):
                    assert log.recorder is not None
                    os.kill(log.recorder, signal.SIGKILL)
                assert stored is not None
                await stored

    asyncio.run(scenario())
    assert [name for name, _ in rows_of(path)] == [f"{n:03}" for n in range(300)]


def test_the_recorder_stores_what_it_received_from_a_killed_server(path: Path, tmp_path: Path) -> None:
    """Without `durable`, too: what has been sent survives the server."""
    script = f"""
import asyncio, os, runpy, signal
from pathlib import Path
here = runpy.run_path({__file__!r})
async def main():
    async with here["started"](Path({str(path)!r}), POLARITY_LOG_DURABLE="false") as log:
        log.add(here["answer"]("0000"))
        await here["until"](lambda: log.written == 1)
        for n in range(1, 1000):
            log.add(here["answer"](f"{{n:04}}"))
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""

    async def scenario() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
        assert await process.wait() == -signal.SIGKILL
        await until(lambda: path.exists() and len(rows_of(path)) == 1000)

    asyncio.run(scenario())


def test_repeated_and_conflicting_feedback_is_recognised(path: Path) -> None:
    async def scenario() -> list[str]:
        async with started(path) as log:
            log.add(answer("known"))
            return [
                await log.feedback("known", "positive", "review"),
                await log.feedback("known", "positive"),
                await log.feedback("known", "negative"),
                await log.feedback("unknown", "positive"),
            ]

    assert asyncio.run(scenario()) == ["new", "same", "other", "unknown"]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT prediction_id, label, origin FROM feedback").fetchall() == [
            ("known", "positive", "review")
        ]


def test_feedback_finds_another_processes_recent_prediction(path: Path) -> None:
    async def scenario() -> str:
        async with started(path) as one, started(path) as other:
            one.add(answer("first"))
            await one.stored()  # type: ignore[misc]
            one.add(answer("fresh"))
            return await other.feedback("fresh", "negative")

    assert asyncio.run(scenario()) == "new"


def test_a_file_that_cannot_be_opened_refuses_answers_and_feedback(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("no folder")

    async def scenario() -> None:
        async with started(tmp_path / "a file" / "predictions.db") as log:
            log.add(answer("lost"))
            stored = log.stored()
            assert stored is not None
            with pytest.raises(RecordUnavailable, match=r"cannot be written: .*a file"):
                await stored
            with pytest.raises(RecordUnavailable):
                await log.feedback("lost", "positive")
            assert log.problem is not None and "a file" in log.problem, "the server is not ready"
            (tmp_path / "a file").unlink()
            await until(lambda: log.problem is None)

    asyncio.run(scenario())


def test_without_durable_a_failing_file_costs_no_answer_and_its_rows_follow(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("no folder")

    async def scenario() -> None:
        async with started(blocked / "predictions.db", limit=10, POLARITY_LOG_DURABLE="false") as log:
            for n in range(12):
                log.add(answer(f"{n:02}"))
                assert log.stored() is None
            assert log.dropped == 2, "more than the limit are waiting"
            await until(lambda: log.receipt.problem is not None)
            blocked.unlink()
            await until(lambda: log.written == 10)

    asyncio.run(scenario())
    assert len(rows_of(blocked / "predictions.db")) == 10


def test_rows_that_failed_a_moment_ago_are_stored_before_the_end(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("no folder")

    async def scenario() -> None:
        async with started(blocked / "predictions.db", POLARITY_LOG_DURABLE="false") as log:
            log.add(answer("1"))
            await until(lambda: log.receipt.problem is not None and not log._unconfirmed)
            blocked.unlink()

    asyncio.run(scenario())
    assert rows_of(blocked / "predictions.db") == [("1", "a tweet")]


def test_rows_that_cannot_be_stored_at_the_end_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a file").write_text("no folder")

    async def scenario() -> None:
        async with started(tmp_path / "a file" / "predictions.db", POLARITY_LOG_DURABLE="false") as log:
            for n in range(3):
                log.add(answer(str(n)))

    asyncio.run(scenario())
    assert "3 rows of the prediction log could not be stored before the end" in caplog.text


def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    def opened(path: Path) -> None:
        local_engine(path).connect().close()

    with ThreadPoolExecutor(4) as threads:
        for n in range(20):
            list(threads.map(opened, [tmp_path / f"{n}.db"] * 4))


def test_too_many_waiting_rows_refuse_a_durable_answer(path: Path) -> None:
    async def scenario() -> None:
        async with started(path, limit=3) as log:
            for n in range(3):
                log.add(answer(str(n)))
            with pytest.raises(RecordUnavailable, match="does not keep up"):
                log.add(answer("4"))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "kept"),
    [("\ud800 alone", "? alone"), ("nul \x00", "nul \ufffd"), ("😀", "😀"), ("quotes \" ' \\", "quotes \" ' \\")],
    ids=ascii,
)
def test_text_that_a_database_rejects_does_not_stop_the_log(path: Path, text: str, kept: str) -> None:
    async def scenario() -> None:
        async with started(path) as log:
            log.add(answer("odd", text))
            log.add(answer("plain", "x"))

    asyncio.run(scenario())
    assert rows_of(path) == [("odd", kept), ("plain", "x")]


@pytest.mark.parametrize(
    ("texts", "kept"), [("off", None), ("masked", "@user see http #fun"), ("full", "@ann see http://t.co/1 #fun")]
)
def test_a_row_holds_what_the_options_allow(path: Path, texts: str, kept: str | None) -> None:
    async def scenario() -> None:
        async with started(path, POLARITY_LOG_TEXTS=texts) as log:
            log.add(answer("a", "@ann see http://t.co/1 #fun"))

    asyncio.run(scenario())
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        (row,) = connection.execute("SELECT * FROM predictions").fetchall()
    row = {name: row[name] for name in row.keys()}  # noqa: SIM118  # a Row iterates over its values
    assert row.pop("at") == pytest.approx(time.time(), abs=60)
    assert row == {
        "id": "a", "characters": 19, "text": kept, "sentiment": "positive", "score": 0.9,
        "probabilities": '{"negative":0.1,"positive":0.9}', "family": "logistic", "version": "1", "bento": "b:1",
        "source": "app", "waited_s": 0.01, "computed_s": 0.02, "words": 2, "unknown_share": None, "links": 1,
        "mentions": 1, "hashtags": 1, "emoji": 0, "script": "latin", "draw_probability": 0.5, "drawn": 1,
    }  # fmt: skip
    assert set(row) | {"at"} == set(predictions.columns.keys())


def test_a_full_log_lets_its_oldest_rows_go_and_counts_them(path: Path) -> None:
    async def scenario() -> PredictionLog:
        async with started(path, POLARITY_LOG_SPOOL_MIB="1") as log:
            for n in range(400):
                for k in range(20):
                    log.add(answer(f"{n:04}-{k:02}", "x" * 200))
                await log.stored()  # type: ignore[misc]
        return log

    log = asyncio.run(scenario())
    kept = rows_of(path)
    assert log.written == 8000 and len(kept) == 8000 - log.receipt.evicted < 8000
    assert kept[-1][0] == "0399-19" and kept[0][0] > "0000-00"
    assert path.stat().st_size <= 2**20


def test_a_log_of_the_first_version_is_migrated_and_keeps_its_rows(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE predictions (
                id TEXT PRIMARY KEY, at REAL NOT NULL, characters INTEGER NOT NULL, text TEXT, sentiment TEXT NOT NULL,
                score REAL NOT NULL, probabilities TEXT NOT NULL, family TEXT NOT NULL, version TEXT NOT NULL,
                bento TEXT NOT NULL) WITHOUT ROWID;
            CREATE INDEX predictions_at ON predictions (at);
            CREATE TABLE feedback (
                prediction_id TEXT PRIMARY KEY REFERENCES predictions (id), label TEXT NOT NULL, at REAL NOT NULL
            ) WITHOUT ROWID;
            INSERT INTO predictions VALUES ('old', 1.5, 3, 'abc', 'positive', 0.9, '{"positive":0.9}', 'f', '1', 'b');
            INSERT INTO feedback VALUES ('old', 'negative', 2.5);
            """
        )

    async def scenario() -> list[str]:
        async with started(path) as log:
            log.add(answer("new"))
            await log.stored()  # type: ignore[misc]
            return [await log.feedback("old", "negative"), await log.feedback("new", "positive")]

    assert asyncio.run(scenario()) == ["same", "new"]
    assert rows_of(path) == [("new", "a tweet"), ("old", "abc")]
    local_engine(path).dispose()  # a second time changes nothing
    assert len(rows_of(path)) == 2
