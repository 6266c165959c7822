"""The canary as the monitor moves it: what it commits and announces, on a real Prefect server."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from polarity.config.settings import PROJECT
from polarity.record import durations
from polarity.record.answer import Challenge
from polarity.record.canary import CanaryState
from polarity.record.challenge import ChallengeSet, read_challenge, set_challenge
from polarity.record.options import RecordOptions
from polarity.record.store import RecordStore
from polarity.upkeep.status import status
from tests.integration.servers import until

pytestmark = pytest.mark.timeout(300)

RULES = """
channels: {}
rules:
  - {name: errors, measure: error_share, window: 5 min, at_least: 0.5, minimum: 10, severity: critical}
"""


def test_steps_are_committed_then_announced_and_a_failing_challenger_goes_back(
    prefect_server: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rules = tmp_path / "log.db", tmp_path / "alerts.yaml"
    rules.write_text(RULES)
    monkeypatch.setenv("POLARITY_PREDICTION_LOG", str(path))
    store = RecordStore(RecordOptions.read())

    def stand(canary: CanaryState) -> None:
        wanted = Challenge("http://127.0.0.1:9", 1.0)
        set_challenge(store, ChallengeSet(wanted, canary.since, "test", "", canary))

    def standing() -> CanaryState:
        found = read_challenge(store)
        assert found is not None
        return found.canary

    def traffic(name: str, covered: int) -> None:
        seconds = durations.empty()
        seconds[durations.bucket_of(0.01)] = 400 - covered
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                "INSERT INTO traffic VALUES (?, ?, 400, 0, 0, 0, ?, 'b', 400, ?, ?)",
                (name, int(time.time() // 60) - 1, json.dumps(seconds), covered, json.dumps(seconds)),
            )

    def monitor() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows.monitor", "--rules", str(rules)],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        return output

    def events() -> list[tuple[str, float]]:
        wanted = {"filter": {"event": {"prefix": ["polarity.canary."]}}}
        found = httpx.post(f"{prefect_server}/events/filter", json=wanted).json()["events"]
        mine = [one for one in found if one["resource"]["prefect.resource.name"] == tmp_path.name]
        return sorted((one["event"], one["payload"]["clients"]) for one in mine)

    long_ago = time.time() - 3_600
    stand(CanaryState("running", 0.01, tmp_path.name, long_ago, long_ago))
    traffic("good", 0)
    assert "running, 5 % of the clients" in monitor()
    assert (standing().share, standing().announced) == (0.05, True)
    until(lambda: events() == [("polarity.canary.step", 0.05)], 30)

    # All of its steps have passed, and it is no registered version.
    stand(CanaryState("running", 1.0, tmp_path.name, long_ago, long_ago))
    assert "no registered version" in monitor()
    assert standing().phase == "unregistered"
    assert dict(status())["challenger"].endswith(f"no registered version has the Bento {tmp_path.name}.")

    # A run that was killed before it announced a step: the next one does.
    stand(CanaryState("running", 0.25, tmp_path.name, long_ago, long_ago, announced=False))
    traffic("bad", 400)
    assert "back, 0 % of the clients" in monitor()
    assert "400 of its 800 requests in its place" in standing().reason
    expected = ["back", "passed", "step", "step", "unregistered"]
    until(lambda: [name.rpartition(".")[2] for name, _ in events()] == expected, 30)
    store.close()
