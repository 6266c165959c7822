"""A served Bento lets another one answer a share of its clients, and answers for it when that one fails."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from flows.canary import end_of
from polarity.bento import build as bento
from polarity.bento import store as bento_store
from polarity.bento.server import BentoServer, served
from polarity.pipeline.config import CanaryConfig
from polarity.record.answer import Challenge
from polarity.record.canary import CanaryState
from polarity.record.challenge import ChallengeSet, move_canary, read_challenge, set_challenge
from polarity.record.options import RecordOptions
from polarity.record.store import RecordStore, opened_record
from polarity.registry.mlflow_client import connect
from polarity.registry.promotion import ROLLED_BACK_BY_TAG, ROLLED_BACK_TAG
from polarity.registry.versions import Registry
from polarity.watch.challenger import weigh_canary
from tests.e2e.conftest import Train
from tests.integration.servers import until

KEY = "a-key-of-the-challenger"
SOURCES = [f"channel {number}" for number in range(100)]


class Pair:
    """A served champion, and a served challenger that requires a key."""

    def __init__(self, champion: BentoServer, challenger: BentoServer, path: Path) -> None:
        self.champion, self.challenger, self.path = champion, challenger, path
        self.versions = tuple(
            str(httpx.get(f"{server.url}/", headers={"x-api-key": KEY}, trust_env=False).json()["version"])
            for server in (champion, challenger)
        )

    def store(self) -> RecordStore:
        return RecordStore(RecordOptions(prediction_log=str(self.path)))

    def set(self, address: str, share: float) -> None:
        """Let the challenger answer this share of the clients, and wait until the champion has heard of it."""
        now = time.time()
        canary = CanaryState("running", share, self.versions[1], now, now)
        with closing(self.store()) as store:
            set_challenge(store, ChallengeSet(Challenge(address, 1.0), now, "test", "", canary))
        time.sleep(2.5)

    def command(self, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "polarity", "challenge", *arguments],
            env={**os.environ, "POLARITY_PREDICTION_LOG": str(self.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def answers(self) -> dict[str, tuple[str, str]]:
        """The version that answers each source, and the prediction id."""
        found = {}
        with httpx.Client(base_url=self.champion.url, trust_env=False) as client:
            for source in SOURCES:
                reply = client.post("/predict", json={"text": "so good"}, headers={"x-source": source})
                assert reply.status_code == 200
                found[source] = (reply.json()["model"]["version"], reply.json()["prediction_id"])
        return found

    def recorded(self, prediction_id: str) -> str | None:
        with closing(sqlite3.connect(self.path)) as connection:
            query = "SELECT version FROM predictions WHERE id = ?"
            row = connection.execute(query, (prediction_id,)).fetchone()
        return None if row is None else str(row[0])

    def count(self, fate: str) -> float:
        text = httpx.get(f"{self.champion.url}/metrics", trust_env=False).text
        start = f'polarity_challenged_requests_total{{fate="{fate}"}}'
        lines = [line for line in text.splitlines() if line.startswith(start)]
        return float(lines[0].split()[-1]) if lines else 0.0


@pytest.fixture(scope="module")
def pair(tag: str, bentoml_home: Path, train: Train, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("canary")
    other = bento.build(train(folder / "model", 3), labels={"purpose": "test"})
    path = folder / "record.db"
    bentos = bentoml_home / "bentos"
    with (
        served(
            bentos / tag.replace(":", "/"),
            environment={"POLARITY_PREDICTION_LOG": str(path), "POLARITY_CHALLENGER_KEY": KEY},
        ) as champion,
        served(
            bentos / other.replace(":", "/"),
            environment={"POLARITY_PREDICTION_LOG": str(folder / "other.db"), "POLARITY_API_KEY": KEY},
        ) as challenger,
    ):
        yield Pair(champion, challenger, path)


def test_a_challenger_answers_the_same_clients_and_more_of_them_at_the_next_step(pair: Pair) -> None:
    pair.set(pair.challenger.url, 0.25)
    quarter = pair.answers()
    assert {source: version for source, (version, _) in pair.answers().items()} == {
        source: version for source, (version, _) in quarter.items()
    }
    chosen = {source for source, (version, _) in quarter.items() if version == pair.versions[1]}
    assert 8 <= len(chosen) <= 45
    assert pair.count("answered") == 2 * len(chosen)
    assert pair.count("covered") == 0
    for version, prediction_id in list(quarter.values())[:20]:
        until(lambda: pair.recorded(prediction_id) is not None, message="the answer is recorded")  # noqa: B023
        assert pair.recorded(prediction_id) == version
    label = {"prediction_id": quarter[min(chosen)][1], "label": "positive"}
    assert httpx.post(f"{pair.champion.url}/feedback", json=label, trust_env=False).status_code == 201

    # Without a source, each text of a batch is a client.
    texts = [f"so good a day, {number} times" for number in range(100)]
    reply = httpx.post(f"{pair.champion.url}/predict/batch", json={"texts": [*texts, ""]}, trust_env=False).json()
    versions = [one["model"]["version"] for one in reply["predictions"][:-1]]
    assert 8 <= versions.count(pair.versions[1]) <= 45
    assert "error" in reply["predictions"][-1]

    pair.set(pair.challenger.url, 0.5)
    half = {source for source, (version, _) in pair.answers().items() if version == pair.versions[1]}
    assert chosen < half

    # A person's pause holds: nobody is answered by it.
    assert "paused, 0 % of the clients" in pair.command("--pause", "--reason", "a look at it")
    time.sleep(2.5)
    assert {version for version, _ in pair.answers().values()} == {pair.versions[0]}


def test_the_champion_answers_for_a_failing_challenger_which_goes_back(pair: Pair) -> None:
    before = pair.count("covered")
    pair.set("http://127.0.0.1:9", 1.0)
    assert {version for version, _ in pair.answers().values()} == {pair.versions[0]}
    assert pair.count("covered") == before + len(SOURCES)

    # The minute of the traffic, as the server will hand it over, and what the monitor makes of it.
    with opened_record(RecordOptions(prediction_log=str(pair.path))) as store:
        found = read_challenge(store)
        assert found is not None
        minute = int(found.canary.since // 60) + 1
        with closing(sqlite3.connect(pair.path)) as connection, connection:
            connection.execute(
                "INSERT INTO traffic VALUES ('a', ?, 200, 0, 0, 0, ?, 'b', 200, 200, '[]')",
                (minute, json.dumps([0] * 62)),
            )
        state = weigh_canary(store, found.canary, 60.0 * minute + 1, CanaryConfig())
        assert (state.phase, state.clients) == ("back", 0.0)
        assert "200 of its 200 requests in its place" in state.reason
        # What a person changes meanwhile stands.
        pair.command("--pause")
        assert not move_canary(store, found, state)
        paused = read_challenge(store)
        assert paused is not None and paused.canary.phase == "paused"
        assert move_canary(store, paused, state)
    time.sleep(2.5)
    covered = pair.count("covered")
    pair.answers()
    assert pair.count("covered") == covered
    assert "back, 0 % of the clients" in pair.command()
    assert "running, 0 % of the clients" in pair.command("--resume")
    assert "Nothing is mirrored" in pair.command("--stop")


def test_a_challenger_that_has_passed_is_promoted_if_it_is_registered_and_nobody_rolled_back_from_it(
    tag: str, bentoml_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLARITY_MLFLOW_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    name, _, challenger = tag.partition(":")
    passed = CanaryState("passed", 1.0, challenger, since=1.0, reason="All guard rails have held.")
    registry = Registry.open()
    run = connect(registry.uri).create_run(connect(registry.uri).create_experiment("a test")).info.run_id

    def register(bento_tag: str) -> int:
        given = {"run_id": run, "name": "logistic", "family": "logistic", "fingerprint": bento_tag}
        return registry.register(f"runs:/{run}/model", **given, tags={"bento": bento_tag}).number

    other = register(f"{name}:another")
    ended, _ = end_of(passed)
    assert (ended.phase, ended.announced) == ("unregistered", False)
    assert registry.champion() is None

    number = register(tag)
    registry.set_champion(other)
    ended, _ = end_of(passed)
    assert ended.phase == "unregistered"
    assert "its safety record has failures: rollback: logistic (version 1) cannot be served any more" in ended.reason
    assert registry.champion() == registry.version(other), "there would be no way back"

    registry.set_champion(None)
    ended, checks = end_of(passed)
    outcomes = {check.name: check.passed for check in checks}
    assert outcomes.pop("canary") and outcomes.pop("parity")
    assert set(outcomes) == {"gates", "behaviour", "shadow", "signature", "rollback"}
    assert set(outcomes.values()) == {None}, "its training has left nothing here, and no text was mirrored"
    assert (ended.phase, ended.clients, ended.announced) == ("promoted", 1.0, False)
    champion = registry.champion()
    assert champion is not None and champion.number == number
    assert bento_store.latest() == bento_store.promoted_tag(tag)
    # A run that was killed before it noted that promotes nothing a second time.
    assert end_of(passed)[0].phase == "promoted"
    assert registry.version(number).tags == champion.tags

    registry.tag(number, {ROLLED_BACK_TAG: "2026-01-01", ROLLED_BACK_BY_TAG: "somebody"})
    ended, _ = end_of(passed)
    assert ended.phase == "unregistered"
    assert "somebody rolled back from" in ended.reason
