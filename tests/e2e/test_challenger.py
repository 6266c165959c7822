"""A served Bento mirrors its answers to another: they are compared in the record, and no client notices."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from polarity.bento import build as bento
from polarity.bento.server import BentoServer, served
from polarity.data.corpus import generate_tweets
from polarity.record.answer import Challenge
from polarity.record.challenge import ChallengeSet, set_challenge
from polarity.record.options import RecordOptions
from polarity.record.store import RecordStore
from tests.e2e.conftest import Train
from tests.integration.servers import until

TEXTS = [row["text"] for row in generate_tweets(rows=300, labels=("negative", "positive"), seed=9).to_pylist()]
TEXTS = [text for text in TEXTS if text and text.strip()][:200]


class Pair:
    """A served champion and a served challenger, and the record of the champion."""

    def __init__(self, champion: BentoServer, challenger: BentoServer, path: Path) -> None:
        self.champion, self.challenger, self.path = champion, challenger, path

    def challenge(self, address: str, share: float = 1.0) -> None:
        """Set the challenge as the command does, and wait until the champion has heard of it."""
        store = RecordStore(RecordOptions(prediction_log=str(self.path)))
        set_challenge(store, ChallengeSet(Challenge(address, share), time.time(), "test", ""))
        store.close()
        # The recorder reads it once a second, and the server asks the recorder once a second.
        time.sleep(2.5)

    def command(self, *arguments: str) -> str:
        """What `python -m polarity challenge` prints."""
        return subprocess.run(
            [sys.executable, "-m", "polarity", "challenge", *arguments],
            env={**os.environ, "POLARITY_PREDICTION_LOG": str(self.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()

    def mirrored(self, fate: str) -> float:
        text = httpx.get(f"{self.champion.url}/metrics", trust_env=False).text
        lines = [x for x in text.splitlines() if x.startswith(f'polarity_mirrored_texts_total{{fate="{fate}"}}')]
        return float(lines[0].split()[-1]) if lines else 0.0

    def ask(self) -> list[str]:
        """Let the champion answer all texts, and return the ids of its answers."""
        reply = httpx.post(f"{self.champion.url}/predict/batch", json={"texts": TEXTS}, trust_env=False)
        assert reply.status_code == 200
        found = reply.json()["predictions"]
        assert {one["model"]["version"] for one in found} == {self.version(self.champion)}
        return [one["prediction_id"] for one in found]

    @staticmethod
    def version(server: BentoServer) -> str:
        version: str = httpx.get(f"{server.url}/", trust_env=False).json()["version"]
        return version


@pytest.fixture(scope="module")
def pair(tag: str, bentoml_home: Path, train: Train, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("challenge")
    other = bento.build(train(folder / "model", 2), labels={"purpose": "test"})
    path = folder / "record.db"
    bentos = bentoml_home / "bentos"
    with (
        served(bentos / tag.replace(":", "/"), environment={"POLARITY_PREDICTION_LOG": str(path)}) as champion,
        served(
            bentos / other.replace(":", "/"), environment={"POLARITY_PREDICTION_LOG": str(folder / "other.db")}
        ) as challenger,
    ):
        yield Pair(champion, challenger, path)


def test_answers_of_a_challenger_are_recorded_beside_the_champions(pair: Pair) -> None:
    said = pair.command(pair.challenger.url, "--reason", "a trial")
    assert f"100% of the answered texts are mirrored to {pair.challenger.url}" in said
    assert "(a trial)" in said
    time.sleep(2.5)
    ids = pair.ask()
    until(lambda: len(pair.rows("SELECT * FROM mirrored")) == len(ids), message="all texts are mirrored")
    found = pair.rows(
        "SELECT m.prediction_id, m.version, m.sentiment = p.sentiment, m.asked, m.inclusion "
        "FROM mirrored AS m JOIN predictions AS p ON p.id = m.prediction_id"
    )
    assert sorted(str(row[0]) for row in found) == sorted(ids)
    assert {row[1] for row in found} == {pair.version(pair.challenger)}
    # Labels are asked for exactly where the two differ, in front of the others.
    differing = {row[0] for row in found if not row[2]}
    assert differing and len(differing) < len(ids)
    assert differing == {row[0] for row in found if row[3]}
    assert all(row[4] == (None if row[2] else 1.0) for row in found)
    review = httpx.get(f"{pair.champion.url}/review", trust_env=False).json()
    assert {item["prediction_id"] for item in review["items"]} <= differing
    assert {item["purpose"] for item in review["items"]} == {"comparison"}
    # The challenger records nothing of it.
    with closing(sqlite3.connect(pair.path.with_name("other.db"))) as connection:
        assert connection.execute("SELECT count(*) FROM predictions").fetchone() == (0,)

    for one in list(differing)[:3]:
        label = {"prediction_id": one, "label": "positive", "review": True}
        assert httpx.post(f"{pair.champion.url}/feedback", json=label, trust_env=False).status_code == 201
    shown = pair.command()
    assert f"{len(ids)} texts" in shown
    assert f"open after {min(3, len(differing))} labelled disagreements" in shown

    assert "Nothing is mirrored" in pair.command("--stop")
    time.sleep(2.5)
    before = pair.rows("SELECT count(*) FROM mirrored")
    pair.ask()
    time.sleep(0.5)
    assert pair.rows("SELECT count(*) FROM mirrored") == before


@contextmanager
def hostile(body: bytes | None) -> Iterator[str]:
    """A server that answers every request with this body, or with one that does not end."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            try:
                self.wfile.write(body if body is not None else b"[")
                while body is None:
                    self.wfile.write(b"0," * 100_000)
            except OSError:
                pass

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def deaf() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def dead() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


WRONG = b'{"predictions":[{"sentiment":"positive","score":7,"probabilities":{"positive":7,"negative":0},"model":{}}]}'


@pytest.mark.parametrize(
    "challenger",
    [dead, lambda: hostile(None), lambda: hostile(WRONG), lambda: hostile(b"[" * 10_000)],
    ids=["dead", "endless", "wrong", "nested"],
)
def test_a_failing_challenger_costs_no_answer(pair: Pair, challenger: object) -> None:
    failed, rows = pair.mirrored("failed"), pair.rows("SELECT count(*) FROM mirrored")
    with challenger() as address:  # type: ignore[operator]
        pair.challenge(address)
        assert len(pair.ask()) == len(TEXTS)
        until(lambda: pair.mirrored("failed") >= failed + len(TEXTS), message="the texts are counted as failed")
        assert pair.rows("SELECT count(*) FROM mirrored") == rows
        pair.challenge("")


def test_a_deaf_challenger_takes_bounded_room(pair: Pair) -> None:
    dropped = pair.mirrored("dropped")
    with deaf() as address:
        pair.challenge(address)
        asked = 0
        while asked < 5_000:
            asked += len(pair.ask())
        until(lambda: pair.mirrored("dropped") > dropped, message="texts are dropped")
        pair.challenge("")
