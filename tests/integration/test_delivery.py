"""What the workflows of GitHub Actions run, from training to a served Bento."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.smoke import smoke_test
from polarity.bento.server import free_port, served
from polarity.config.settings import PROJECT


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_training_leaves_a_bento_that_another_home_serves(tmp_path: Path) -> None:
    variables = {
        "HOME": str(tmp_path),
        "POLARITY_HOME": str(tmp_path / "home"),
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_API_PORT": str(free_port()),
        "POLARITY_STORE": "",  # as a variable of a workflow that has no value
    }
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | variables
    trained = tmp_path / "trained"
    try:
        command = ["deploy/train.sh", str(trained), "--profile", "demo"]
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    finally:
        stop = "from ops.server import local_server; local_server().stop()"
        subprocess.run([sys.executable, "-c", stop], cwd=PROJECT, env=environment, check=False)
    tag = (trained / "bento.txt").read_text().strip()
    assert json.loads((trained / "run" / "summary.json").read_text()) and (trained / "run" / "report.html").exists()
    elsewhere = {**environment, "BENTOML_HOME": str(tmp_path / "elsewhere")}
    take = [sys.executable, "-m", "bentoml", "import", str(trained / "sentiment.bento")]
    subprocess.run(take, env=elsewhere, check=True, capture_output=True)
    folder = tmp_path / "elsewhere" / "bentos" / tag.replace(":", "/")
    with served(folder) as server:
        assert smoke_test(server.url, expect=tag)["bento"] == tag
