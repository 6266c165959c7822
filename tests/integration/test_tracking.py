"""Tracking in a real MLflow on SQLite, with concurrent threads and processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from polarity.config.settings import settings
from polarity.errors import ArtifactError, ConfigurationError, ServiceUnavailable
from polarity.evaluation.metrics import Metrics, measure
from polarity.families.logistic import LogisticConfig
from polarity.families.packaging import load_predictor
from polarity.families.protocol import History
from polarity.families.registry import family_of
from polarity.registry.mlflow_client import connect
from polarity.registry.tracked_runs import delete_tracked_runs, tracked_runs
from polarity.registry.tracking import EXPIRY_S, HEARTBEAT, PROCESS, Tracker, running_attempts
from polarity.registry.versions import Registry
from polarity.text.tweets import Tweets

LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A separate MLflow store, with its artifacts next to it."""
    home = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLARITY_HOME", str(home))
        settings.cache_clear()
        yield settings().tracking_uri
    settings.cache_clear()


@pytest.fixture
def tracker(store: str) -> Tracker:
    return Tracker.open("a run", params={"seed": 42, "logistic": {"c": 3.0}}, tags={"data_digest": "d1"})


@pytest.fixture
def metrics() -> Metrics:
    return measure([0, 1, 1, 0], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]], label_names=LABELS, seed=0)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "packaged"
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    return folder


def test_run_logs_options_metrics_curves_and_files(tracker: Tracker, metrics: Metrics, tmp_path: Path) -> None:
    plot = tmp_path / "roc.svg"
    plot.write_text("<svg/>")
    run_id = tracker.start_candidate("logistic", family="logistic", params={"c": 3.0, "note": "x" * 9000})
    tracker.log_metrics(run_id, {"train": metrics, "validation": metrics}, {"latency_ms_p95": 1.5})
    tracker.log_history(run_id, History(epochs=({"loss": 0.9}, {"loss": 0.5})))
    tracker.log_artifacts(run_id, plot, to="plots")
    tracker.finish(run_id)
    tracker.log_metrics(run_id, {"test": metrics})
    tracker.close()

    client = connect(tracker.uri)
    parent, child = client.get_run(tracker.run_id), client.get_run(run_id)
    assert parent.data.params == {"seed": "42", "logistic.c": "3.0"}
    assert parent.data.tags["data_digest"] == "d1"
    assert parent.info.status == child.info.status == "FINISHED"
    assert child.data.tags["mlflow.parentRunId"] == tracker.run_id
    assert child.data.metrics["validation_accuracy"] == metrics.accuracy
    assert child.data.metrics["test_macro_f1_low"] == metrics.macro_f1_interval[0]
    assert [m.value for m in client.get_metric_history(run_id, "curve/loss")] == [0.9, 0.5]
    assert [f.path for f in client.list_artifacts(run_id, "plots")] == ["plots/roc.svg"]
    environment = json.loads(Path(client.download_artifacts(tracker.run_id, "environment.json")).read_text())
    assert environment["numpy"] == np.__version__


def test_system_metrics_are_logged_during_a_fit(tracker: Tracker) -> None:
    run_id = tracker.start_candidate("bilstm", family="bilstm", params={})
    client = connect(tracker.uri)
    with tracker.system_metrics(run_id, interval_s=0.1):
        for _ in range(100):
            if "system/cpu_utilization_percentage" in client.get_run(run_id).data.metrics:
                break
    logged = client.get_run(run_id).data.metrics
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(logged)


def test_same_candidate_is_registered_once(tracker: Tracker, package: Path) -> None:
    registry = Registry.open()
    run_id = tracker.start_candidate("logistic", family="logistic", params={})
    uri = tracker.log_model(run_id, package, name="logistic")
    first = registry.register(uri, run_id=run_id, name="logistic", family="logistic", fingerprint="once")
    again = registry.register(uri, run_id=run_id, name="logistic", family="logistic", fingerprint="once")
    other = registry.register(uri, run_id=run_id, name="logistic", family="logistic", fingerprint="twice")
    assert first == again
    assert other.number != first.number
    assert registry.tag(first.number, {"bento": "sentiment:abc"}).bento == "sentiment:abc"
    assert (registry.packaged(first) / "weights.bin").read_bytes() == bytes(range(256))
    id_file = json.loads(tracker.write_id(package, run_id, model_version=first.number).read_text())
    assert (id_file["run_id"], id_file["model_version"]) == (run_id, first.number)


def test_champion_alias_moves_and_moves_back(tracker: Tracker, package: Path) -> None:
    registry = Registry.open()
    run_id = tracker.start_candidate("bilstm", family="bilstm", params={})
    uri = tracker.log_model(run_id, package, name="bilstm")
    old, new = (
        registry.register(uri, run_id=run_id, name="bilstm", family="bilstm", fingerprint=f"champion-{age}")
        for age in ("old", "new")
    )
    assert registry.champion() is None
    assert registry.set_champion(old.number) is None
    assert registry.set_champion(new.number) == old
    assert registry.champion() == new
    registry.set_champion(old.number)
    assert registry.champion() == old
    assert registry.set_champion(None) == old
    assert registry.champion() is None


def test_missing_version_is_named_in_the_error(store: str) -> None:
    with pytest.raises(ArtifactError, match="Version 999 of 'sentiment' does not exist"):
        Registry.open().version(999)


def test_cached_candidate_links_its_original_run(tracker: Tracker, metrics: Metrics) -> None:
    first = tracker.start_candidate("logistic", family="logistic", params={"c": 1})
    run_id = tracker.record_cached(
        "logistic", family="logistic", original_run_id=first, params={"c": 1}, metrics={"validation": metrics}
    )
    run = connect(tracker.uri).get_run(run_id)
    assert (run.data.tags["cached"], run.data.tags["original_run_id"]) == ("true", first)
    assert run.data.metrics["validation_macro_f1"] == metrics.macro_f1
    assert run.info.status == "FINISHED"


def test_concurrent_threads_can_write(tracker: Tracker, metrics: Metrics, package: Path) -> None:
    registry = Registry.open()

    def one(name: str) -> int:
        run_id = tracker.start_candidate(name, family="bilstm", params={"name": name})
        with tracker.system_metrics(run_id, interval_s=0.1):
            tracker.log_history(run_id, History(epochs=tuple({"loss": 1 / i} for i in range(1, 30))))
            tracker.log_metrics(run_id, {"validation": metrics})
            uri = tracker.log_model(run_id, package, name=name)
        tracker.finish(run_id)
        return registry.register(uri, run_id=run_id, name=name, family="bilstm", fingerprint=f"side-{name}").number

    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(one, "abcd"))
    assert len(set(numbers)) == 4


def test_two_processes_can_create_the_store_concurrently(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/fresh/mlflow.db"
    script = f"from polarity.registry.tracking import Tracker; Tracker.open('a run', uri={uri!r}).close()"
    environment = {**os.environ, "POLARITY_HOME": str(tmp_path)}
    starters = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(2)]
    assert [starter.wait(120) for starter in starters] == [0, 0]
    with sqlite3.connect(tmp_path / "fresh" / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (2,)
        assert database.execute("select count(*) from experiments where name = 'polarity'").fetchone() == (1,)


def test_a_kill_while_the_store_is_created_leaves_nothing_half_made(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    killed = """
import os, signal, sys
from mlflow.store.db import utils
from polarity.registry.mlflow_client import connect
utils._upgrade_db = lambda engine: os.kill(os.getpid(), signal.SIGKILL)  # its tables are there, no migration has run
connect(sys.argv[1])
"""
    done = subprocess.run([sys.executable, "-c", killed, uri], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    assert connect(uri).search_experiments()
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"], "what was left is gone"


def test_unreachable_server_is_reported_immediately() -> None:
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:9"):
        Tracker.open("a run", uri="http://user:secret@127.0.0.1:9")


def test_error_for_unreachable_server_hides_the_password() -> None:
    with pytest.raises(ServiceUnavailable) as refused:
        Tracker.open("a run", uri="http://user:secret@127.0.0.1:9")
    assert "secret" not in str(refused.value)


def test_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file/mlflow"):
        Tracker.open("a run", uri=f"sqlite:///{tmp_path}/file/mlflow/mlflow.db")


@pytest.mark.soak
def test_locked_database_is_retryable(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    tracker = Tracker.open("a run", uri=f"sqlite:///{path}?timeout=0.1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")
    try:
        with pytest.raises(ServiceUnavailable, match="database is locked"):
            tracker.close()
    finally:
        other.close()
    tracker.close()


def test_unknown_store_scheme_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="it must start with sqlite:///, postgresql:// or http"):
        Tracker.open("a run", uri="./mlruns")


@pytest.fixture(scope="module")
def logistic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small, real packaged model."""
    texts = ["great day", "awful day", "so happy", "so sad", "love it", "hate it"] * 20
    tweets = Tweets(texts, np.array([1, 0] * 60), LABELS)
    classifier = family_of("logistic").classifier(LogisticConfig(char_ngrams=None, min_df=1), name="logistic", seed=0)
    fitted = classifier.fit(tweets, tweets, lambda *_, **__: None)
    return fitted.export(tmp_path_factory.mktemp("logistic")).folder


def test_mlflow_loads_champion_by_alias_without_training_framework(tracker: Tracker, logistic: Path) -> None:
    registry = Registry.open()
    run_id = tracker.start_candidate("logistic", family="logistic", params={})
    uri = tracker.log_model(run_id, logistic, name="logistic")
    version = registry.register(uri, run_id=run_id, name="logistic", family="logistic", fingerprint="loads")
    before = registry.set_champion(version.number)
    script = (
        "import json, sys, mlflow.pyfunc, pandas as pd\n"
        "model = mlflow.pyfunc.load_model('models:/sentiment@champion')\n"
        "texts = ['love this great day', 'awful \U0001f622']\n"
        "answer = model.predict(pd.DataFrame({'id': [1, 2], 'text': texts}))\n"
        "assert answer.equals(model.predict(texts)) and answer.equals(model.predict(pd.Series(texts)))\n"
        "heavy = [name for name in ('tensorflow', 'torch', 'transformers') if name in sys.modules]\n"
        "print(json.dumps({'sentiment': list(answer.sentiment), 'columns': list(answer), 'heavy': heavy}))\n"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracker.uri, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    registry.set_champion(before.number if before else None)
    assert json.loads(done.stdout) == {
        "sentiment": ["positive", "negative"],
        "columns": ["sentiment", "p_negative", "p_positive"],
        "heavy": [],
    }
    predictor = load_predictor(registry.packaged(version))
    assert predictor.labels == LABELS


def test_missing_artifacts_are_reported(tracker: Tracker, package: Path) -> None:
    registry = Registry.open()
    run_id = tracker.start_candidate("logistic", family="logistic", params={})
    uri = tracker.log_model(run_id, package, name="logistic")
    version = registry.register(uri, run_id=run_id, name="logistic", family="logistic", fingerprint="lost")
    shutil.rmtree(registry.packaged(version).parents[1])
    with pytest.raises(ArtifactError, match="logistic \\(version"):
        registry.packaged(version)


def test_a_run_of_another_machine_is_alive_as_long_as_its_heart_beats(tracker: Tracker) -> None:
    client = connect(tracker.uri)
    client.set_tag(tracker.run_id, PROCESS, "elsewhere/4711")
    child = replace(tracker, process="elsewhere/4711").start_candidate("bilstm", family="bilstm", params={})

    def alive() -> set[bool]:
        ours = {tracker.run_id, child}
        return {attempt.is_alive for attempt in running_attempts(tracker.uri) if attempt.run_id in ours}

    assert alive() == {True}, "it has just started"
    client.set_tag(tracker.run_id, HEARTBEAT, str(time.time() + 7200))
    with pytest.MonkeyPatch.context() as later:
        now = time.time()
        later.setattr("polarity.registry.tracking.time.time", lambda: now + 7200 + EXPIRY_S - 1)
        assert alive() == {True}
        later.setattr("polarity.registry.tracking.time.time", lambda: now + 7200 + EXPIRY_S + 1)
        assert alive() == {False}, "its machine is gone"
    tracker.close()


def test_the_heart_goes_on_beating_after_mlflow_was_away(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    def beat() -> str | None:
        tag: str | None = connect(tracker.uri).get_run(tracker.run_id).data.tags.get(HEARTBEAT)
        return tag

    def wait_for_another(than: str | None) -> str | None:
        deadline = time.monotonic() + 30
        while (found := beat()) == than and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    with tracker.heartbeat(interval_s=0.05):
        first = wait_for_another(None)
        assert first is not None
        away = f"sqlite:////nowhere/{uuid4().hex}.db"
        original = connect
        monkeypatch.setattr("polarity.registry.tracking.connect", lambda _: original(away))
        time.sleep(0.3)
        monkeypatch.setattr("polarity.registry.tracking.connect", original)
        last = beat()
        assert wait_for_another(last) != last
    ended = beat()
    time.sleep(0.3)
    assert beat() == ended
    tracker.close()


def test_deleted_runs_are_gone_for_good(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "plot.svg").write_text("<svg/>")
    child = tracker.start_candidate("logistic", family="logistic", params={})
    tracker.log_artifacts(child, tmp_path / "plot.svg")
    tracker.finish(child)
    tracker.close()
    (run,) = [run for run in tracked_runs(tracker.uri) if tracker.run_id in run.family]
    assert set(run.family) == {tracker.run_id, child}
    assert not run.running
    assert any((folder / "plot.svg").exists() for folder in run.artifacts)
    assert delete_tracked_runs(tracker.uri, run.family)
    assert not any(folder.exists() for folder in run.artifacts)
    assert not [run for run in tracked_runs(tracker.uri) if tracker.run_id in run.family]
    with pytest.raises(MlflowException, match="not found"):
        connect(tracker.uri).get_run(child)
