"""`make server` and `make stop`: a Prefect server in the background, with separate homes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from tests.integration.servers import free_port


def run(module: str, *arguments: str, home: Path, port: int) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home / "not" / "there" / "yet"),
        "PREFECT_SERVER_API_PORT": str(port),
        "POLARITY_HOME": str(home),
    }
    environment.pop("PREFECT_API_URL", None)
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_server_is_started_once_and_stopped(tmp_path: Path) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    try:
        first = run("ops.server", home=tmp_path, port=port)
        assert first.returncode == 0, first.stdout + first.stderr
        assert f"The Prefect server is running at {api}" in first.stdout
        assert httpx.get(f"{api}/health").is_success
        assert run("ops.server", home=tmp_path, port=port).stdout == f"A Prefect server is already running at {api}.\n"
    finally:
        server = psutil.Process(json.loads((tmp_path / ".state" / "prefect.pid").read_text())["pid"])
        stopped = run("ops.ui", "stop", home=tmp_path, port=port)
    assert stopped.stdout == "Stopped prefect.\n"
    assert not server.is_running()


def test_failed_start_reports_the_reason(tmp_path: Path) -> None:
    (tmp_path / "not").write_text("a file where a folder should be")
    refused = run("ops.server", home=tmp_path, port=free_port())
    assert refused.returncode == 1
    assert str(tmp_path / "not") in refused.stderr
    assert "Traceback" not in refused.stderr


def test_occupied_port_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = run("ops.server", home=tmp_path, port=taken.getsockname()[1])
    assert refused.returncode == 1
    assert "prefect did not start; is its port taken?" in refused.stderr
    assert "prefect.log" in refused.stderr
