"""Recovery after a killed flow, and rollback to a former champion, with real processes, MLflow and Bentos."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.train import train
from polarity.bento import store as bento_store
from polarity.config.sections import BehaviourLimits
from polarity.config.settings import settings
from polarity.errors import ConfigurationError
from polarity.evaluation.summary import RunSummary
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.store import Store
from polarity.registry import promotion
from polarity.registry.tracked_runs import tracked_runs
from polarity.registry.versions import Registry
from polarity.upkeep import doctor
from polarity.upkeep.retention import Retention, prune, removals

pytestmark = [pytest.mark.usefixtures("prefect_server", "home"), pytest.mark.timeout(600)]

OPTIONS = ["--profile", "demo", "--models", "logistic", "--data.rows", "1200"]


def run(c: float = 3.0, *, promote: bool = False) -> RunSummary:
    # with a margin of 1 every candidate may replace the champion
    options = {"models": ["logistic"], "data": {"rows": 1200}, "logistic": {"c": c}, "select": {"margin": 1.0}}
    options["behaviour"] = {"logistic": dict.fromkeys(BehaviourLimits.model_fields, 0)}
    summary: RunSummary = train(TrainConfig.model_validate({"profile": "demo", "promote": promote, **options}))
    return summary


def polarity(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polarity", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.soak
@pytest.mark.parametrize("step", ["fit-logistic", "package"])
def test_doctor_and_next_run_repair_what_a_killed_flow_left(step: str, home: Path) -> None:
    flow = subprocess.Popen([sys.executable, "-m", "flows.train", *OPTIONS], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not list((home / "store").glob(f"{step}/.*")):  # the step's draft
        assert flow.poll() is None, "the flow ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    flow.send_signal(signal.SIGKILL)
    flow.wait(10)

    examined = polarity("doctor")
    assert examined.returncode == 1
    assert "is marked as running, but its process is gone" in examined.stdout
    assert "abandoned partial result" in examined.stdout
    mended = polarity("doctor", "--mend")
    assert mended.returncode == 0, mended.stdout
    assert polarity("doctor").stdout == "Everything is consistent.\n"

    done = subprocess.run([sys.executable, "-m", "flows.train", *OPTIONS], timeout=300, check=False)
    assert done.returncode == 0
    (summary,) = [json.loads(path.read_text()) for path in (home / "runs").glob("*/summary.json")]
    assert summary["models"][0]["cached"] is (step == "package"), "it goes on from what was finished"
    assert [version.number for version in Registry.open().versions()] == [1]
    assert polarity("doctor").stdout == "Everything is consistent.\n"


@pytest.mark.soak
def test_rollback_restores_former_champion_and_its_bento() -> None:
    first, second = run(), run(c=1.5)
    assert second.verdict.promoted
    assert bento_store.latest() == second.bento != first.bento
    back = polarity("rollback")
    assert back.returncode == 0, back.stderr
    champion = Registry.open().champion()
    assert champion is not None
    assert champion.number == 1
    assert bento_store.latest() == first.bento
    assert polarity("rollback", "--to", "7").returncode == 2
    assert polarity("rollback", "--to", "2").returncode == 0
    assert bento_store.latest() == second.bento
    assert polarity("doctor").returncode == 0


@pytest.mark.soak
def test_pruning_keeps_the_champion_and_its_predecessor(home: Path) -> None:
    # the second is promoted by a person, so the first is not kept as the reference of comparisons
    summaries = [run(), run(c=1.5, promote=True), run(c=0.7)]
    registry, store = Registry.open(), Store(settings().store_folder)
    fits = [registry.version(number).fingerprint for number in (1, 2, 3)]
    assert polarity("prune", "--keep-runs", "0", "--keep-days", "0").stdout.startswith(
        "0 removed"
    )  # all of it may be in use
    journal = home / "searches" / "logistic-0123456789abcdef.journal"
    journal.parent.mkdir()
    journal.write_text("")
    later = datetime.now(UTC) + timedelta(days=90)
    strict = Retention(keep_runs=0, keep_days=1, store_days=1, store_gb=0)
    planned = removals(registry, store, settings().runs_folder, strict, later)
    removed = prune(registry, store, settings().runs_folder, strict, later)
    assert [removal.target for removal in planned] == [removal.target for removal in removed.removals]
    assert removed.freed_bytes > 100_000

    assert [path.name for path in sorted((home / "runs").iterdir())] == [summary.run_id for summary in summaries[1:]]
    assert [version.number for version in registry.versions()] == [3, 2]
    assert len(bento_store.tags("sentiment")) == len(bento_store.tags("sentiment-candidate")) == 2
    left = {result.folder.name for result in store.results()}
    assert {Path(run.folder).name for run in tracked_runs(registry.uri)} == {run.run_id for run in summaries[1:]}
    assert not journal.exists()
    assert fits[0] not in left
    assert set(fits[1:]) < left
    assert {result.step for result in store.results()} >= {"ingest", "accept", "prepare", "package", "test-logistic"}
    assert bento_store.latest() == summaries[2].bento
    assert doctor.examine(registry, store) == []

    assert promotion.rollback(registry).bento == bento_store.latest() == summaries[1].bento
    with pytest.raises(ConfigurationError, match="Version 1 is not a former champion"):
        promotion.rollback(registry, 1)
    again = run()
    assert not again.models[0].cached, "what is missing is made again"
    assert again.models[0].test == summaries[0].models[0].test
    assert doctor.examine(registry, store) == []


@pytest.mark.soak
def test_interrupted_promotion_is_repaired_by_the_next_run() -> None:
    first, second = run(), run(c=1.5)
    Registry.open().set_champion(1)  # what a kill between alias and Bento leaves
    assert bento_store.latest() == second.bento
    assert polarity("doctor").returncode == 1
    again = run()
    assert again.models[0].cached
    assert bento_store.latest() == first.bento


def test_unreachable_mlflow_gives_a_readable_error(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "POLARITY_MLFLOW_URI": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.train", *OPTIONS, "--faults.retries", "0"],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
