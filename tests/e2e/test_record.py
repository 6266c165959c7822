"""The record of a served Bento: whatever breaks, every prediction id that a client holds is stored exactly once."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
import pytest

from polarity.bento.server import BentoServer
from polarity.record import durations
from polarity.record.answer import Answer, Mirrored, Served, Traffic
from polarity.record.history import (
    Span,
    answer_counts,
    answers,
    hourly_counts,
    labelled_pairs,
    pair_totals,
    traffic_total,
)
from polarity.record.options import RecordOptions
from polarity.record.shipper import ROWS_PER_BATCH, Shipper
from polarity.record.spool import Spool
from polarity.record.status import record_status
from polarity.record.store import RecordStore
from tests.integration.servers import Postgres, until

MIB = 2**20
DURABLE = {"POLARITY_LOG_DURABLE": "true"}


class Clients:
    """Threads that ask without pause, and keep the ids that they got and the statuses that they saw."""

    def __init__(self, url: str, threads: int = 4) -> None:
        self.url = url
        self.ids: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.slowest_s = 0.0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(threads)]

    def _ask(self, number: int) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._stop.is_set():
                started = time.perf_counter()
                try:
                    if number % 2:
                        reply = client.post(f"{self.url}/predict", json={"text": "such a good day @ann"})
                        found = [reply.json()["prediction_id"]] if reply.status_code == 200 else []
                    else:
                        reply = client.post(f"{self.url}/predict/batch", json={"texts": ["so sad", "so good"] * 5})
                        found = [item["prediction_id"] for item in reply.json().get("predictions", [])]
                except httpx.HTTPError:
                    time.sleep(0.02)  # the server has been killed
                    continue
                self.slowest_s = max(self.slowest_s, time.perf_counter() - started)
                self.statuses[reply.status_code] += 1
                self.ids += found
                if reply.status_code != 200:
                    time.sleep(0.02)

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """URL of an empty database."""
    yield from _database(postgres)


def _database(postgres: Postgres) -> Iterator[str]:
    name = f"record_{time.time_ns()}"
    connection = psycopg2.connect(postgres.url("postgres"))
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    yield postgres.url(name)


def in_database(url: str) -> Counter[str]:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        try:
            cursor.execute("SELECT id FROM predictions")
        except psycopg2.errors.UndefinedTable:
            return Counter()  # not migrated yet
        return Counter(name for (name,) in cursor.fetchall())


def in_spool(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (count,) = connection.execute("SELECT count(*) FROM predictions").fetchone()
        return int(count)


def kill(server: BentoServer) -> None:
    """SIGKILL the server's processes, but not the recorder, which stores what it has received and ends by itself."""
    parent = psutil.Process(server.process.pid)
    for process in (parent, *parent.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            if "polarity.record.recorder" not in process.cmdline():
                process.send_signal(signal.SIGKILL)


def resident_bytes(server: BentoServer) -> int:
    parent = psutil.Process(server.process.pid)
    return sum(process.memory_info().rss for process in (parent, *parent.children(recursive=True)))


def check_complete(ids: list[str], database: str, spool: Path) -> None:
    """Wait until the spool is empty, and compare what the clients got with what the database holds."""
    until(lambda: in_spool(spool) == 0, timeout_s=60, message="the spool was not shipped")
    stored = in_database(database)
    missing = [name for name in ids if name not in stored]
    assert not missing, f"{len(missing)} of {len(ids)} answers are not in the database"
    assert len(set(ids)) == len(ids) and max(stored.values()) == 1


@pytest.mark.parametrize("durable", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_answers_survive_an_outage_of_the_database_and_a_kill_of_the_server(
    serve: Any, postgres: Postgres, database: str, tmp_path: Path, durable: bool
) -> None:
    spool = tmp_path / "spool.db"
    options = {"POLARITY_PREDICTION_LOG": database, "POLARITY_LOG_SPOOL": str(spool)}
    if durable:
        options |= DURABLE
    ids: list[str] = []
    with serve(**options) as server:
        with Clients(server.url) as clients:
            until(lambda: len(in_database(database)) > 0, message="nothing was shipped")
            postgres.kill()
            before = len(clients.ids)
            until(lambda: len(clients.ids) > before + 200, message="no answers without the database")
            assert set(clients.statuses) == {200}, "an answer never waits for the database"
            status = httpx.get(f"{server.url}/status", timeout=30).json()
            assert status["record"] is None
            assert "problem" in status and status["model"]["version"], "what is known is answered"
            kill(server)
        ids += clients.ids
    assert in_spool(spool) > 0
    with serve(**options) as server:
        with Clients(server.url) as clients:
            until(lambda: len(clients.ids) > 50, message="no answers after the restart")
            postgres.start()
            until(lambda: in_spool(spool) < 50, timeout_s=60, message="the backlog was not shipped")
        until(lambda: in_spool(spool) == 0, timeout_s=60)
        status = httpx.get(f"{server.url}/status", timeout=30).json()["record"]
        assert sum(status["answers"].values()) == len(in_database(database))
    check_complete(ids + clients.ids, database, spool)


def test_a_row_that_is_being_shipped_is_counted_once(postgres: Postgres, database: str, tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    options = RecordOptions.read({"POLARITY_PREDICTION_LOG": database, "POLARITY_LOG_SPOOL": str(path)})
    assert options.database is not None

    def write(*names: str) -> None:
        spool = Spool(path, served=Served("logistic", "1", "b:1"), texts="off", limit_bytes=2**24, evict=False)
        spool.write(
            [Answer(n, 1_000.5, "so", "negative", 0.9, {"negative": 0.9}, None, 0, 0, 0.0, False) for n in names],
            [Traffic(n, 16, 1, 0, 0, 0, durations.empty()) for n in names],
        )
        spool.close()

    write("a", "b")
    shipper = Shipper(path, options.database)
    until(lambda: in_spool(path) == 0 and shipper.unshipped == 0)
    shipper.close()
    write("b", "c")  # as if b had been committed in the database, and not yet deleted here
    store = RecordStore(options)
    span = Span(900, 1_100)
    assert answer_counts(store, span) == {("", "negative"): 3}
    assert hourly_counts(store, 0, 1, 1_100.0) == {0: {"negative": 3}}
    assert sorted(answer.id for answer in answers(store, span)) == ["a", "b", "c"]
    assert traffic_total(store, span).requests == 3
    assert record_status(store, 1_100).waiting == 2
    store.close()


def test_what_refers_to_predictions_is_shipped_after_them(postgres: Postgres, database: str, tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    options = RecordOptions.read({"POLARITY_PREDICTION_LOG": database, "POLARITY_LOG_SPOOL": str(path)})
    assert options.database is not None
    count = ROWS_PER_BATCH + 500
    answers = [
        Answer(f"{n:05}", 1e3, "so", "negative", 0.9, {"negative": 0.9}, None, 0, 0, 0, False) for n in range(count)
    ]
    last = [Mirrored(f"{n:05}", of, 1e3, "positive", 0.8, 1.0, True) for n in (7, count - 1) for of in ("v2", "v3")]
    spool = Spool(path, served=Served("logistic", "1", "b:1"), texts="off", limit_bytes=2**24, evict=False)
    spool.write(answers, (), [*last, Mirrored("forgotten", "v2", 1e3, "positive", 0.8, 1.0, True)])
    spool.close()
    local = RecordStore(options.without_database)
    # Of a prediction that goes with the second batch.
    assert local.add_feedback(f"{count - 1:05}", "positive", 1e3, "review") == "new"
    local.close()
    shipper = Shipper(path, options.database)
    until(lambda: in_spool(path) == 0)
    shipper.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM mirrored").fetchone() == (0,)
    store = RecordStore(options)
    totals = {total.challenger: total for total in pair_totals(store, Span(0, 2e3))}
    assert {name: (total.pairs, total.asked) for name, total in totals.items()} == {"v2": (2, 2), "v3": (2, 2)}
    (pair,) = labelled_pairs(store, Span(0, 2e3), "1", "v3")
    assert (pair.id, pair.challenger_sentiment, pair.label) == (f"{count - 1:05}", "positive", "positive")
    assert [item.prediction_id for item in store.review(10).items] == ["00007"]
    assert store.forget_predictions(["00007", f"{count - 1:05}"]).predictions == 2
    assert pair_totals(store, Span(0, 2e3)) == []
    store.close()


def test_a_full_spool_refuses_answers_and_takes_them_again(
    serve: Any, postgres: Postgres, database: str, tmp_path: Path
) -> None:
    spool = tmp_path / "spool.db"
    options = {
        "POLARITY_PREDICTION_LOG": database,
        "POLARITY_LOG_SPOOL": str(spool),
        "POLARITY_LOG_SPOOL_MIB": "1",
        "POLARITY_LOG_TEXTS": "full",
        **DURABLE,
    }
    with serve(**options) as server:
        assert httpx.post(f"{server.url}/predict", json={"text": "first"}, trust_env=False).status_code == 200
        postgres.kill()
        ids: list[str] = []
        refusal: httpx.Response | None = None
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            while refusal is None:
                reply = client.post("/predict/batch", json={"texts": ["x" * 1500] * 50})
                if reply.status_code == 200:
                    ids += [item["prediction_id"] for item in reply.json()["predictions"]]
                else:
                    refusal = reply
            assert refusal.status_code == 503 and refusal.headers["retry-after"] == "1"
            assert refusal.json() == {"detail": "La réponse n'a pas pu être enregistrée ; réessayez."}
            assert ids, "some were stored"
            postgres.start()
            until(
                lambda: client.post("/predict", json={"text": "again"}).status_code == 200,
                timeout_s=60,
                message="still refused after the database has taken the rows",
            )
        # A small text may find a place before the database takes rows again; a server that ended then would keep them.
        check_complete(ids, database, spool)


def test_feedback_reaches_the_database_from_both_places(serve: Any, database: str, tmp_path: Path) -> None:
    options = {"POLARITY_PREDICTION_LOG": database, "POLARITY_LOG_SPOOL": str(tmp_path / "spool.db")}
    with serve(**options) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        ids = [client.post("/predict", json={"text": "so good"}).json()["prediction_id"] for _ in range(3)]

        def label(name: str, value: str, **more: bool) -> int:
            return client.post("/feedback", json={"prediction_id": name, "label": value, **more}).status_code

        assert label(ids[0], "positive", review=True) == 201
        until(lambda: set(ids) <= set(in_database(database)), message="the rows were not shipped")
        assert [label(ids[1], "negative"), label(ids[1], "negative"), label(ids[1], "positive")] == [201, 200, 409]
        assert [label(ids[0], "positive"), label(ids[0], "negative"), label("?", "negative")] == [200, 409, 404]

        def labels() -> list[tuple[str, str, str]]:
            with psycopg2.connect(database) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT prediction_id, label, origin FROM feedback ORDER BY prediction_id")
                return list(cursor.fetchall())

        expected = [(ids[0], "positive", "review"), (ids[1], "negative", "volunteered")]
        until(lambda: labels() == expected, message="the labels were not shipped")


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[None]:
    """A file system of its own for `folder`."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder], check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_two_bad_minutes(serve: Any, postgres: Postgres, tmp_path: Path) -> None:
    """A minute without the database, then ten seconds without a place on the disk, and a minute with three kills."""
    (database,) = _database(postgres)
    with small_disk(tmp_path / "disk", 256):  # a minute of answers takes some 80 MiB
        spool = tmp_path / "disk" / "spool.db"
        options = {"POLARITY_PREDICTION_LOG": database, "POLARITY_LOG_SPOOL": str(spool), **DURABLE}
        ids: list[str] = []
        with serve(**options) as server:
            with Clients(server.url, threads=16) as clients:
                time.sleep(10)
                calm_bytes, calm_s = resident_bytes(server), clients.slowest_s
                postgres.kill()
                clients.slowest_s = 0.0
                time.sleep(60)
                assert resident_bytes(server) < calm_bytes + 40 * MIB
                print(f"slowest answer: {calm_s:.3f} s with the database, {clients.slowest_s:.3f} s without")
                assert set(clients.statuses) == {200}
                filler = tmp_path / "disk" / "filler"
                with suppress(OSError), filler.open("wb") as file:
                    while True:
                        file.write(b"0" * MIB)
                        file.flush()
                time.sleep(5)
                postgres.start()
                time.sleep(5)
                filler.unlink()
                print(f"refused while the disk was full: {clients.statuses[503]}")
                assert set(clients.statuses) == {200, 503}
                until(lambda: in_spool(spool) < 1000, timeout_s=120, message="the backlog was not shipped")
            ids += clients.ids
        for _ in range(3):
            with serve(**options) as server:
                with Clients(server.url, threads=16) as clients:
                    time.sleep(15)
                    kill(server)
                ids += clients.ids
        with serve(**options):
            check_complete(ids, database, spool)
        print(f"{len(ids)} answers, each stored once")
