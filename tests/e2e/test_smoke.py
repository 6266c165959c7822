"""The smoke test of a deployment, against a served Bento and against what is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.errors import SmokeTestFailed
from deploy.smoke import smoke_test
from polarity.bento.server import bentoml_environment, free_port, start_dependent, stop
from polarity.config.settings import PROJECT
from tests.integration.servers import static_site

pytestmark = pytest.mark.skipif("BASE_URL" in os.environ, reason="needs a server of its own")


def test_a_served_bento_passes(base_url: str, tag: str) -> None:
    assert smoke_test(base_url, expect=tag)["bento"] == tag


def test_another_bento_than_the_expected_fails(base_url: str) -> None:
    with pytest.raises(SmokeTestFailed, match="not sentiment:other"):
        smoke_test(base_url, expect="sentiment:other")


def test_a_server_with_keys_is_asked_with_one(serve: Any) -> None:
    with serve(POLARITY_API_KEY="first,second", POLARITY_PREDICTION_LOG="off") as server:
        assert smoke_test(server.url, key="second")["family"]
        with pytest.raises(SmokeTestFailed, match="gave 401, not 200"):
            smoke_test(server.url, key="third")


def test_a_server_that_is_ready_and_does_not_predict_fails(tmp_path: Path) -> None:
    for name in ("readyz", "healthz", "livez", "metrics", "model", "openapi.json"):
        (tmp_path / name).touch()
    (tmp_path / "index.html").write_text('{"model": {"bento": "sentiment:1"}, "labels": ["negative", "positive"]}')
    with static_site(tmp_path) as port, pytest.raises(SmokeTestFailed, match="/predict gave 501, not 200"):
        smoke_test(f"http://127.0.0.1:{port}")


def test_a_server_that_is_not_there_fails() -> None:
    with pytest.raises(SmokeTestFailed, match="was not ready within 0 s"):
        smoke_test(f"http://127.0.0.1:{free_port()}", timeout_s=0)


@pytest.mark.soak
def test_service_and_runner_work_apart(tag: str, bentoml_home: Path, tmp_path: Path) -> None:
    """As two deployments of one image, as on Kubernetes with GPUs."""
    ports = {"runner": free_port(), "service": free_port()}
    options = {
        "runner": ["--service-name", "runner"],
        "service": ["--depends", f"runner=http://127.0.0.1:{ports['runner']}"],
    }
    running = []
    try:
        for name, port in ports.items():
            command = ["-m", "bentoml_cli._internal.start", "start-http-server", "--host", "127.0.0.1", *options[name]]
            folder = bentoml_home / "bentos" / tag.replace(":", "/")
            (tmp_path / name).mkdir()
            environment = bentoml_environment(
                BENTOML_HOME=str(tmp_path / name), POLARITY_RUNNER="process", POLARITY_PREDICTION_LOG="off"
            )
            arguments = [*command, "--port", str(port), str(folder)]
            running.append(start_dependent(arguments, environment=environment, log=tmp_path / f"{name}.log"))
        url = f"http://127.0.0.1:{ports['service']}"
        assert smoke_test(url, expect=tag)["bento"] == tag
        stop(running.pop(0))
        with pytest.raises(SmokeTestFailed):
            smoke_test(url, timeout_s=2)
    finally:
        for process in running:
            stop(process)


def test_the_command_needs_no_package(base_url: str) -> None:
    """It runs in an interpreter that sees the standard library alone, as on a host that has nothing else."""
    program = f"import runpy, sys; sys.path.insert(0, {str(PROJECT)!r}); sys.argv = ['deploy', 'smoke', {base_url!r}]; "
    program += "runpy.run_module('deploy', run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "answers as the contract says" in done.stdout
