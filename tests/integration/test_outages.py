"""A Prefect server and MLflow that are away during a fit end no training: it goes on and is reported afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from polarity.bento.server import free_port
from polarity.config.settings import PROJECT
from polarity.registry.mlflow_client import connect
from tests.integration.servers import PrefectServer, until

pytestmark = pytest.mark.timeout(1500)
SMALL = {
    "epochs": 6,
    "units": 16,
    "patience": 6,
    "vector_size": 16,
}  # fmt: skip


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[None]:
    """A real MLflow server with its database and artifacts in a folder, killed at the end."""
    address = f"http://127.0.0.1:{port}"
    with (folder / "mlflow.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)],
            env={
                **os.environ,
                "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db",
                "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(folder / "artifacts"),
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
            cwd=PROJECT,
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: is_answering(f"{address}/health"), message=(folder / "mlflow.log").read_text())
        yield
    finally:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            with suppress(psutil.Error):
                one.kill()
        process.wait(20)


def is_answering(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("away_s", [10, 600])
@pytest.mark.soak
def test_a_training_survives_both_servers_being_away_during_its_fit(away_s: float, tmp_path: Path) -> None:
    (tmp_path / "prefect").mkdir()
    prefect, port = PrefectServer(tmp_path / "prefect"), free_port()
    address = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "POLARITY_HOME": str(tmp_path),
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "POLARITY_MLFLOW_URI": address,
        "PREFECT_HOME": str(prefect.home),
        "PREFECT_API_URL": prefect.api,
    }
    options = {f"--bilstm.{name}": str(value) for name, value in SMALL.items()}
    command = [sys.executable, "-m", "flows.train", "--profile", "demo", "--models", "bilstm", "--data.rows", "1200"]
    command += [part for option in options.items() for part in option]
    prefect.start()
    try:
        with mlflow_server(tmp_path, port):
            with (tmp_path / "flow.log").open("wb") as log:
                flow = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            until(lambda: list(tmp_path.glob("store/fit-bilstm/*.checkpoints/*")) or flow.poll() is not None)
            assert flow.poll() is None, (tmp_path / "flow.log").read_text()
            prefect.kill()
        time.sleep(away_s)
        until(lambda: list(tmp_path.glob("store/fit-bilstm/*.json")) or flow.poll() is not None)
        time.sleep(5)  # what follows the fit meets the servers being away, too
        assert flow.poll() is None, (tmp_path / "flow.log").read_text()
        with mlflow_server(tmp_path, port):
            prefect.start()
            flow.wait(300)
            assert flow.returncode == 0, (tmp_path / "flow.log").read_text()
            (summary,) = tmp_path.glob("runs/*/summary.json")
            (model,) = json.loads(summary.read_text())["models"]
            run = connect(address).get_run(model["mlflow_run_id"])
            assert run.info.status == "FINISHED"
            assert run.data.metrics["validation_accuracy"] == model["validation"]["accuracy"]
            with temporary_settings({PREFECT_API_URL: prefect.api}), get_client(sync_client=True) as client:
                until(lambda: {run.state_name for run in client.read_flow_runs()} == {"Completed"}, 60)
                states = {run.name: run.state_name for run in client.read_task_runs()}
                assert states["fit-bilstm"] == "Completed"
    finally:
        if flow.poll() is None:
            flow.kill()
        with suppress(psutil.Error):
            prefect.kill()
