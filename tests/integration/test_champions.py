"""What a champion is champion of, and what a person decided about it: real flows, MLflow and Bentos."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.csv as pc
import pytest

from flows.canary import end_of
from flows.train import train
from polarity.bento import store as bento_store
from polarity.config.sections import BehaviourLimits
from polarity.config.settings import settings
from polarity.data.corpus import generate_tweets
from polarity.evaluation.summary import RunSummary
from polarity.inference.package import DRIFT_REFERENCE, ModelManifest
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.store import Store
from polarity.record.canary import CanaryState
from polarity.registry.mlflow_client import connect
from polarity.registry.versions import Registry
from polarity.upkeep import doctor

pytestmark = [pytest.mark.usefixtures("prefect_server", "own_registry"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def empty_registry(module_home: Path) -> Path:
    """A database of MLflow without runs; to create one takes longer than most tests here."""
    connect(settings().tracking_uri)
    return module_home / "mlruns" / "mlflow.db"


@pytest.fixture
def own_registry(empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry of each test's own; fits and Bentos are found again."""
    shutil.copy(empty_registry, tmp_path / "mlflow.db")
    monkeypatch.setenv("POLARITY_MLFLOW_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    settings.cache_clear()
    yield
    settings.cache_clear()


def tweets(path: Path, rows: int = 1200, seed: int = 1, labels: tuple[str, ...] = ("negative", "positive")) -> Path:
    """Write labelled tweets as a file of the user's own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pc.write_csv(generate_tweets(rows=rows, labels=labels, seed=seed).select(["text", "label"]), path)
    return path


def run(path: Path | None = None, c: float = 3.0, *, margin: float = 1.0, **options: object) -> RunSummary:
    """Train a logistic regression; with a margin of 1 every candidate may replace the champion."""
    data = {"rows": 1200} if path is None else {"source": "file", "path": str(path)}
    given = {
        "profile": "demo" if path is None else "standard",
        "models": ["logistic"],
        "data": data,
        "logistic": {"c": c, "char_ngrams": None},
        "select": {"margin": margin},
        "behaviour": {"logistic": dict.fromkeys(BehaviourLimits.model_fields, 0)},  # such small models may fail a test
    }
    summary: RunSummary = train(TrainConfig.model_validate({**given, **options}))
    return summary


def polarity(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "polarity", *arguments], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def champion(task: str | None = None) -> int | None:
    found = Registry.open(task=task).champion()
    return found.number if found else None


@pytest.mark.soak
def test_the_demo_never_meets_the_champion_of_somebodys_own_tweets(tmp_path: Path) -> None:
    demo = run()
    assert bento_store.latest() == demo.bento, "the demo is served as long as there is nothing else"
    own = run(tweets(tmp_path / "tweets.csv"))
    assert own.verdict.champion_before is None, "a task of its own"
    assert bento_store.latest() == own.bento != demo.bento

    again = run(c=1.5)  # another demo, as a schedule would run it
    assert again.verdict.promoted
    assert again.verdict.champion_before == "logistic (version 1)"
    assert bento_store.latest() == own.bento
    assert (champion("demo"), champion("sentiment"), champion()) == (2, 1, 1)
    assert "* sentiment: logistic (version 1)" in polarity("tasks")


@pytest.mark.soak
def test_what_a_person_chose_to_serve_stays(tmp_path: Path) -> None:
    demo = run()
    run(tweets(tmp_path / "tweets.csv"))
    polarity("serve", "demo")
    assert bento_store.latest() == demo.bento
    better = run(tweets(tmp_path / "tweets.csv"), c=1.5)
    assert better.verdict.promoted
    assert bento_store.latest() == demo.bento
    assert bento_store.exists(str(better.bento))
    assert polarity("doctor") == "Everything is consistent.\n"


@pytest.mark.soak
def test_a_rollback_stays_until_a_person_lifts_it() -> None:
    first, second, third = run(), run(c=1.5), run(c=0.7)
    assert champion() == 3
    polarity("rollback", "--reason", "too harsh on irony")
    assert bento_store.latest() == second.bento

    nightly = run(c=0.7)
    assert nightly.models[0].cached
    assert not nightly.verdict.promoted
    assert "rolled back from logistic (version 3)" in nightly.verdict.reason
    assert "too harsh on irony" in nightly.verdict.reason
    assert "polarity promote 3 --task demo" in nightly.verdict.reason
    assert champion() == 2

    polarity("rollback")
    assert champion() == 1, "a second rollback goes further back, not forward to the bad one"
    assert bento_store.latest() == first.bento
    assert not run(c=1.5).verdict.promoted

    polarity("promote", "3")
    assert champion() == 3
    assert bento_store.latest() == third.bento
    polarity("rollback")
    assert champion() == 1, "version 2 is still marked"
    lifted = run(c=0.7, promote=True)
    assert lifted.verdict.promoted
    assert "on request" in lifted.verdict.reason
    assert champion() == 3


@pytest.mark.soak
def test_the_same_model_under_another_key_is_still_the_one_that_was_rolled_back() -> None:
    run()
    run(c=1.5)
    polarity("rollback")
    same = run(logistic={"c": 1.5, "char_ngrams": None, "max_iter": 999})  # another key, the same outcome
    assert champion() == 1
    assert [version.number for version in Registry.open().versions()] == [3, 2, 1]
    assert "rolled back from logistic (version 2)" in same.verdict.reason


@pytest.mark.soak
def test_a_candidate_waits_until_it_has_passed_as_a_canary() -> None:
    """A training with select.canary moves nothing; the canary's end does, with what the training knew."""
    first = run()
    second = run(c=1.5, select={"canary": True, "margin": 1.0})
    assert not second.verdict.promoted
    assert "It is to pass as a canary first" in second.verdict.reason
    assert champion() == 1
    assert bento_store.latest() == first.bento == second.bento
    waiting, _ = Registry.open().versions()
    assert waiting.bento is not None
    assert bento_store.exists(waiting.bento), "it can be served"
    assert doctor.examine(Registry.open(), Store(settings().store_folder)) == []
    passed = CanaryState("passed", 1.0, waiting.bento.partition(":")[2])
    ended, checks = end_of(passed)
    assert ended.phase == "promoted"
    outcomes = {check.name: check.passed for check in checks}
    assert outcomes.pop("signature") is outcomes.pop("shadow") is None
    assert set(outcomes.values()) == {True}, checks
    assert champion() == 2
    shown = polarity("safety", "2")
    assert "rollback   passed     logistic (version 1) answered" in shown
    assert bento_store.latest() == bento_store.promoted_tag(waiting.bento)
    assert doctor.examine(Registry.open(), Store(settings().store_folder)) == []


@pytest.mark.soak
def test_tweets_of_another_origin_replace_nothing_unless_a_person_says_so(tmp_path: Path) -> None:
    run(tweets(tmp_path / "tweets.csv"))
    theirs = tweets(tmp_path / "theirs.csv", seed=2)
    withheld = run(theirs)
    assert not withheld.verdict.promoted
    assert "learned from other tweets" in withheld.verdict.reason
    assert champion() == 1
    assert run(theirs, promote=True).verdict.promoted
    assert run(theirs, c=1.5).verdict.promoted, "it is the line of the champion now"


@pytest.mark.soak
def test_a_task_has_one_class_set(tmp_path: Path) -> None:
    run(tweets(tmp_path / "tweets.csv"))
    labels = ("negative", "neutral", "positive")
    three = run(tweets(tmp_path / "three.csv", labels=labels), labels=labels)
    assert not three.verdict.promoted
    assert "answers negative, positive and this model negative, neutral, positive" in three.verdict.reason
    assert champion() == 1


@pytest.mark.soak
def test_the_champion_is_not_measured_on_tweets_that_it_learned_from(tmp_path: Path, module_home: Path) -> None:
    path = tweets(tmp_path / "tweets.csv")
    run(path)
    other = run(path, preparation={"salt": "another", "test_share": 0.3}, select={"min_test_rows": 20})
    verdict = json.loads((module_home / "runs" / other.run_id / "verdict.json").read_text())
    (comparison,) = verdict["comparisons"]
    total = other.models[0].test["rows"]
    assert comparison["rows"] + comparison["left_out"] == total
    assert comparison["left_out"] > 0.6 * total, "four fifths of today's test tweets trained the champion"
    too_few = run(path, preparation={"salt": "another", "test_share": 0.3}, select={"min_test_rows": 1000})
    assert not too_few.verdict.promoted
    assert "are too few for a comparison" in too_few.verdict.reason


@pytest.mark.soak
def test_the_same_candidate_on_the_same_tweets_is_the_same_decision(module_home: Path) -> None:
    def decided(summary: RunSummary) -> int:
        verdict = json.loads((module_home / "runs" / summary.run_id / "verdict.json").read_text())
        return int(verdict["comparisons"][0]["on_test_set"])

    run()
    assert [decided(run(c=c, margin=0.0)) for c in (0.7, 1.5, 0.7)] == [1, 2, 1]


@pytest.mark.soak
def test_a_bento_that_is_gone_is_built_again() -> None:
    first = run()
    shutil.rmtree(bento_store.home())
    assert len(doctor.examine(Registry.open(), Store(settings().store_folder))) == 1
    assert not run(c=1.5, margin=0.0).verdict.promoted  # but the run goes on, and repairs
    version = Registry.open().champion()
    assert version is not None and version.bento is not None
    assert bento_store.latest() == bento_store.promoted_tag(version.bento) == first.bento
    assert doctor.examine(Registry.open(), Store(settings().store_folder)) == []


@pytest.mark.soak
def test_a_champion_whose_model_is_gone_stops_no_training() -> None:
    run()
    registry = Registry.open()
    version = registry.champion()
    assert version is not None
    shutil.rmtree(bento_store.home())
    shutil.rmtree(registry.packaged(version))
    summary = run(c=1.5)
    assert not summary.verdict.promoted
    assert "cannot be compared" in summary.verdict.reason
    assert run(c=1.5, promote=True).verdict.promoted


@pytest.mark.soak
def test_a_bento_says_which_run_promoted_it(module_home: Path) -> None:
    def said(tag: str | None) -> ModelManifest:
        return ModelManifest.read(bento_store.model_folder(str(tag)))

    first = run()
    other = run(c=1.5)
    assert said(first.bento).card["run_id"] == first.run_id
    again = run()  # finds the Bento of the first run, and promotes it
    assert again.models[0].cached and again.bento == first.bento
    assert said(again.bento).card["run_id"] == again.run_id
    assert said(again.bento).data_digest == again.data.digest
    assert said(other.bento).card["run_id"] == other.run_id

    packed = bento_store.model_folder(str(bento_store.latest())) / DRIFT_REFERENCE
    reference = packed.read_bytes()
    shutil.rmtree(bento_store.home())
    polarity("doctor", "--mend")
    assert said(bento_store.latest()).card["run_id"] == again.run_id, "a Bento that is built again says the same"
    assert packed.read_bytes() == reference
