"""Heavy work on Dask workers: an external scheduler with two workers, and a cluster started by the run itself."""

from __future__ import annotations

import contextvars
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from distributed import Client
from prefect import flow, task

from flows.runners import workers
from flows.score import score
from flows.steps import begin, prepare_tweets, recorded
from flows.tune import tune
from polarity.bento.server import free_port
from polarity.config.settings import settings
from polarity.families.packaging import load_predictor
from polarity.pipeline.config import ScoreConfig, TrainConfig, TuneConfig
from polarity.pipeline.graph import Fit, Fitted
from polarity.pipeline.store import Store
from polarity.registry.versions import Registry
from polarity.upkeep.doctor import examine
from tests.integration.servers import DaskCluster, dask_cluster, until

pytestmark = [pytest.mark.usefixtures("prefect_server", "module_home"), pytest.mark.timeout(600)]

TEXTS = ["what a lovely day", "awful, so sad", "", "@you not bad at all #win", "12345", "the train is late again"]


@pytest.fixture(scope="module")
def cluster(prefect_server: str, module_home: Path) -> Iterator[DaskCluster]:
    with dask_cluster(module_home, resources=("GPU=1", None)) as cluster:
        yield cluster


def configure(address: str | None = None, *, runner: str = "dask", **options: object) -> TrainConfig:
    spread = {"runner": runner, "dask": {"address": address}}
    return TrainConfig.model_validate(
        {"profile": "demo", "models": ["logistic"], "data": {"rows": 1200}, **spread, **options}
    )


@flow
def fits(config: TrainConfig) -> list[Fitted]:
    """Run the training flow up to its fits."""
    steps = begin(config)
    snapshot, _, _ = prepare_tweets(steps)
    with recorded(steps.run, snapshot) as tracker, workers(config) as heavy:
        steps.side_by_side(Fit, tracker=tracker, workers=heavy)
        return [steps.result(Fit, model) for model in config.models]


def forget_fits() -> None:
    for folder in settings().store_folder.glob("fit-*"):
        shutil.rmtree(folder)


def weights(fitted: Fitted) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in fitted.packaged.iterdir() if path.name != "model.json"}


@pytest.mark.soak
def test_threads_and_dask_give_identical_logistic_regressions(cluster: DaskCluster) -> None:
    found = []
    for config in (configure(runner="threads"), configure(cluster.address)):
        forget_fits()
        (fitted,) = fits(config)
        found.append((fitted.key, weights(fitted), load_predictor(fitted.packaged)(TEXTS)))
    assert found[0][:2] == found[1][:2]
    assert found[0][1], "nothing was compared"
    np.testing.assert_array_equal(found[0][2], found[1][2])


@task
def where(_: int) -> str:
    from distributed import get_worker

    return str(get_worker().name)


@flow
def everywhere(config: TrainConfig, gpu: bool) -> set[str]:
    with workers(config) as heavy:
        return {future.result() for future in [heavy.submit(where, number, gpu=gpu) for number in range(6)]}


def test_gpu_task_runs_on_the_worker_that_declares_a_gpu(cluster: DaskCluster) -> None:
    assert everywhere(configure(cluster.address), gpu=True) == {"worker-0"}
    assert "worker-1" in everywhere(configure(cluster.address), gpu=False)


def test_dask_scores_shards_like_local_processes(cluster: DaskCluster, tmp_path: Path) -> None:
    (fitted,) = fits(configure(cluster.address))
    path = tmp_path / "tweets.csv"
    pd.DataFrame({"text": [f"{TEXTS[i % 6]} {i % 7}" for i in range(400)]}).to_csv(path)
    written = []
    for runner in ("threads", "dask"):
        options = {"model": str(fitted.packaged), "data": {"path": path}, "output": tmp_path / runner, "workers": 1}
        spread = {"runner": runner, "dask": {"address": cluster.address if runner == "dask" else None}}
        summary = score(ScoreConfig.model_validate({**options, **spread, "shard_rows": 60}))
        assert summary.rows == 400
        written.append(pd.read_parquet(tmp_path / runner / "scores"))
    assert len(list((tmp_path / "dask" / "scores").iterdir())) == 7
    pd.testing.assert_frame_equal(*written)


@pytest.mark.soak
def test_search_trials_run_on_the_workers(cluster: DaskCluster) -> None:
    def executed() -> int:
        with Client(cluster.address, set_as_default=False) as client:
            return sum(client.run(lambda dask_worker: dask_worker.state.executed_count).values())

    small = configure(cluster.address).model_dump(include={"profile", "models", "data", "runner", "dask"})
    before = executed()
    tuning = tune(TuneConfig.model_validate({**small, "search": {"space": {"c": [0.01, 0.5, 2.0]}}}))
    assert executed() - before == 3
    losses = [trial.log_loss for trial in tuning.trials["logistic"]]
    assert None not in losses
    assert len(set(losses)) == 3


@pytest.mark.soak
def test_run_survives_a_killed_worker(prefect_server: str, module_home: Path) -> None:
    forget_fits()
    config = configure()
    found: list[list[Fitted]] = []
    with dask_cluster(module_home) as cluster:
        config = configure(cluster.address, seed=7)
        context = contextvars.copy_context()  # it knows the server
        flow_run = threading.Thread(target=lambda: found.append(context.run(fits, config)))
        flow_run.start()
        at_work: list[tuple[psutil.Process, psutil.Process]] = []

        def fitting() -> bool:
            for worker in cluster.workers.values():
                at_work.extend((psutil.Process(worker.pid), child) for child in psutil.Process(worker.pid).children())
            return bool(at_work)

        until(fitting)
        worker, fit = at_work[0]
        worker.send_signal(signal.SIGKILL)
        until(lambda: not fit.is_running() or fit.status() == psutil.STATUS_ZOMBIE)  # it dies with its worker
        flow_run.join(300)
    ((fitted,),) = found
    assert load_predictor(fitted.packaged)(TEXTS).shape == (6, 2)
    half_done = [finding for finding in examine(Registry.open(), Store(settings().store_folder)) if finding.repair]
    for finding in half_done:
        assert "abandoned partial result" in finding.problem, "MLflow has no attempt that seems to run"


@pytest.mark.soak
def test_shell_command_starts_its_own_cluster(module_home: Path, tmp_path: Path) -> None:
    (fitted,) = fits(configure(runner="threads"))
    path = tmp_path / "tweets.csv"
    path.write_text("text\n" + "so happy\n" * 30)
    options = ["--model", str(fitted.packaged), "--data.path", str(path), "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "flows.score", *options, "--runner", "dask", "--workers", "1", "--shard_rows", "10"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "30 of 30 rows scored" in " ".join(done.stdout.split())
    assert len(list((tmp_path / "out" / "scores").glob("*.parquet"))) == 3


def test_invalid_dask_setups_are_refused(cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(config: TrainConfig) -> str:
        state = everywhere(config, gpu=False, return_state=True)
        assert state.is_failed()
        return str(state.message)

    assert "add --runner dask" in refused(configure(cluster.address, runner="threads"))
    assert "it must have the form tcp://HOST:PORT" in refused(configure("localhost"))
    assert f"No Dask scheduler responds at tcp://127.0.0.1:{(port := free_port())}" in refused(
        configure(f"tcp://127.0.0.1:{port}")
    )
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    assert "pip install 'polarity[dask]'" in refused(configure())
    monkeypatch.undo()
    monkeypatch.setenv("POLARITY_STORE", str(tmp_path))
    settings.cache_clear()
    assert "has a different POLARITY_STORE" in refused(configure(cluster.address))
    monkeypatch.undo()
    settings.cache_clear()
