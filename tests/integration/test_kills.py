"""Whatever is killed, the same command completes: on PostgreSQL, with fits on Dask workers, all real processes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from tests.integration.servers import DaskCluster, Postgres, PrefectServer, dask_cluster, until

pytestmark = pytest.mark.timeout(900)


@dataclass
class System:
    """The services that a training run needs, and the environment that points to them."""

    home: Path
    environment: dict[str, str]
    postgres: Postgres
    prefect: PrefectServer
    dask: DaskCluster

    def options(self, seed: int) -> list[str]:
        small = ["--profile", "demo", "--models", "logistic", "--data.rows", "1200", "--seed", str(seed)]
        small += ["--faults.outage_s", "5"]  # a server is started again only after the run has ended
        return [*small, "--runner", "dask", "--dask.address", self.dask.address]

    def start(self, seed: int) -> subprocess.Popen[str]:
        """Start a training run."""
        return subprocess.Popen(
            [sys.executable, "-m", "flows.train", *self.options(seed)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def train(self, seed: int) -> dict[str, Any]:
        """Run a training to its end, and return its summary."""
        flow = self.start(seed)
        output = flow.communicate(timeout=600)[0]
        assert flow.returncode == 0, output
        newest = max((self.home / "runs").glob("*/summary.json"), key=lambda path: path.stat().st_mtime)
        summary: dict[str, Any] = json.loads(newest.read_text())
        return summary

    def polarity(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "polarity", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def fitting(self) -> list[psutil.Process]:
        """Return the fit processes on the Dask workers."""
        found = []
        for worker in self.dask.workers.values():
            with suppress(psutil.Error):
                found += psutil.Process(worker.pid).children()
        return found

    def kill(self, victim: str, flow: subprocess.Popen[str]) -> Callable[[], None]:
        """SIGKILL one of the processes, and return a function that restarts it."""
        match victim:
            case "flow":
                flow.kill()
            case "fit":
                for fit in self.fitting():
                    with suppress(psutil.Error):
                        fit.kill()
            case "prefect":
                self.prefect.kill()
                return self.prefect.start
            case "postgres":
                self.postgres.kill()
                return self.postgres.start
            case "worker":
                busy = [fit.ppid() for fit in self.fitting()]
                name = next((name for name, worker in self.dask.workers.items() if worker.pid in busy), "worker-0")
                self.dask.workers[name].send_signal(signal.SIGKILL)
                self.dask.workers[name].wait(20)
                return lambda: self.dask.start_worker(name)
        return lambda: None

    def check_recovery(self, seed: int) -> dict[str, Any]:
        """Check that the same command completes, and that all stores are consistent."""
        summary = self.train(seed)
        mended = self.polarity("doctor", "--mend")
        assert mended.returncode == 0, mended.stdout + mended.stderr
        assert self.polarity("doctor").stdout == "Everything is consistent.\n"
        assert summary["bento"]
        return summary


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    home = tmp_path_factory.mktemp("system")
    postgres = Postgres()
    postgres.start()
    prefect = PrefectServer(
        tmp_path_factory.mktemp("prefect-on-postgres"),
        {"PREFECT_API_DATABASE_CONNECTION_URL": postgres.url("prefect", "+asyncpg")},
    )
    environment = {
        **os.environ,
        "POLARITY_HOME": str(home),
        "BENTOML_HOME": str(home / "bentoml"),
        "POLARITY_MLFLOW_URI": postgres.url("mlflow"),
        "PREFECT_HOME": str(prefect.home),
        "PREFECT_API_URL": prefect.api,
        "PREFECT_CLIENT_MAX_RETRIES": "1",
    }
    try:
        prefect.start()
        with dask_cluster(home, environment=environment) as dask:
            yield System(home, environment, postgres, prefect, dask)
    finally:
        with suppress(psutil.NoSuchProcess):
            prefect.kill()
        postgres.remove()


@pytest.mark.soak
def test_same_command_completes_after_postgresql_was_killed(system: System) -> None:
    flow = system.start(seed=1)
    until(lambda: system.fitting() or flow.poll() is not None)
    assert flow.poll() is None, flow.communicate()[0]
    system.postgres.kill()
    output = flow.communicate(timeout=400)[0]
    assert flow.returncode == 1, output
    assert "run the same command again" in output
    system.postgres.start()
    summary = system.check_recovery(seed=1)
    assert [model["name"] for model in summary["models"]] == ["logistic"]

    def count(database: str, question: str) -> int:
        with psycopg2.connect(system.postgres.url(database)) as connection, connection.cursor() as cursor:
            cursor.execute(question)
            (found,) = cursor.fetchone() or (0,)
            return int(found)

    assert count("prefect", "SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'") == 1
    assert count("mlflow", "SELECT count(*) FROM model_versions") == 1, "registered once"


@pytest.mark.soak
def test_run_resumes_after_the_prefect_server_was_killed(system: System) -> None:
    shutil.rmtree(system.home / "store" / "package", ignore_errors=True)  # the same model may have been packaged before
    flow = system.start(seed=2)
    until(lambda: list((system.home / "store").glob("package/.*")) or flow.poll() is not None)
    assert flow.poll() is None, flow.communicate()[0]
    system.prefect.kill()
    output = flow.communicate(timeout=400)[0]
    assert flow.returncode == 1, output
    assert f"the Prefect server at {system.prefect.api} does not respond" in output
    system.prefect.start()
    assert system.check_recovery(seed=2)["models"][0]["cached"]


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 110))
@pytest.mark.parametrize("victim", ["flow", "fit", "prefect", "postgres", "worker"])
def test_kill_at_a_random_moment(system: System, victim: str, seed: int) -> None:
    seed += 1000 * len(victim)
    chance = random.Random(seed)
    flow = system.start(seed)
    if victim in ("fit", "worker") or chance.random() < 0.3:  # where most of a real run's time goes
        until(lambda: system.fitting() or flow.poll() is not None)
        time.sleep(chance.uniform(0, 3))
    else:
        time.sleep(chance.uniform(2, 60))
    restart = system.kill(victim, flow)
    output = flow.communicate(timeout=600)[0]
    if victim in ("fit", "worker"):
        assert flow.returncode == 0, output
    restart()
    if victim == "worker":
        system.dask.wait()
    system.check_recovery(seed)
