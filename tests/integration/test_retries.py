"""Which faults of a fit are retried, counted on real Prefect tasks and real child processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from flows.adapter import polarity_task
from flows.train import train
from polarity.config.settings import settings
from polarity.errors import ConfigurationError, PolarityError, ProcessKilled, ServiceUnavailable
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.isolation import run_isolated
from polarity.registry.mlflow_client import connect

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(300)]

CHILD = '''
import json, os, signal, time
from pathlib import Path

def work(job, report):
    """Does what the job says for this try: waits, crashes, is killed by a signal, or finishes."""
    tries = Path(job["tries"])
    number = len(tries.read_text()) if tries.exists() else 0
    tries.write_text("x" * (number + 1))
    does = job["does"][number]
    if does == "wait":
        time.sleep(60)
    elif does == "crash":
        raise RuntimeError("out of luck")
    elif does != "finish":
        os.kill(os.getpid(), getattr(signal, does))
'''


@polarity_task("work", retry_delay_seconds=0.01)
def work(does: list[str], folder: Path, timeout_s: float) -> str:
    """Run the child."""
    job = {"does": does, "tries": str(folder / "tries")}
    run_isolated("child:work", job, folder=folder / "process", timeout_s=timeout_s, listen=lambda *_: None)
    return "finished"


def tried(does: list[str], folder: Path, *, timeout_s: float = 30) -> tuple[int, Any]:
    """The number of tries, and the result or the error."""

    @flow
    def run() -> Any:
        future = work.submit(does, folder, timeout_s)
        return future.result(raise_on_failure=False)

    result = run(return_state=True).result(raise_on_failure=False)
    return len((folder / "tries").read_text()), result


@pytest.fixture(autouse=True)
def _child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_one_kill_is_an_outage(tmp_path: Path) -> None:
    assert tried(["SIGKILL", "finish"], tmp_path) == (2, "finished")


def test_the_same_signal_twice_in_a_row_is_not_an_outage(tmp_path: Path) -> None:
    tries, error = tried(["SIGSEGV", "SIGSEGV", "finish"], tmp_path)
    assert tries == 2
    assert type(error) is PolarityError
    assert "Two tries in a row were killed by SIGSEGV, so it is not tried again." in str(error)


def test_different_faults_are_tried_again(tmp_path: Path) -> None:
    assert tried(["SIGSEGV", "SIGKILL", "finish"], tmp_path) == (3, "finished")
    for file in tmp_path.glob("tries"):
        file.unlink()
    tries, error = tried(["SIGSEGV", "crash", "SIGSEGV"], tmp_path)
    assert tries == 3
    assert isinstance(error, ProcessKilled), "not twice in a row"


def test_a_crash_is_retried_and_reported(tmp_path: Path) -> None:
    tries, error = tried(["crash"] * 3, tmp_path)
    assert tries == 3
    assert isinstance(error, ServiceUnavailable)
    assert "out of luck" in str(error)


def test_a_timeout_is_not_retried(tmp_path: Path) -> None:
    tries, error = tried(["wait", "finish"], tmp_path, timeout_s=5)
    assert tries == 1
    assert "--faults.fit_timeout_s" in str(error)


@pytest.mark.soak
def test_a_diverged_fit_ends_the_run_with_the_option_to_change(home: Path) -> None:
    options: dict[str, Any] = {"profile": "demo", "models": ["bilstm"], "data": {"rows": 1200}}
    config = TrainConfig.model_validate({**options, "bilstm": {"units": 4, "vector_size": 4, "learning_rate": 1e38}})
    state = train(config, return_state=True)
    assert state.is_failed()
    assert "Lower --bilstm.learning_rate, which is 1e+38." in str(state.message)
    assert isinstance(state.result(raise_on_failure=False), ConfigurationError)
    client = connect(settings().tracking_uri)
    experiment = client.get_experiment_by_name("polarity")
    fits = client.search_runs([experiment.experiment_id], "attributes.run_name = 'bilstm'")
    assert [fit.info.status for fit in fits] == ["FAILED"], "it is tried once"
    assert "diverged" in fits[0].data.tags["mlflow.note.content"]
