"""`make server` and `make stop`: a Prefect server in the background, with separate homes."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Running

from polarity.bento.server import free_port


def environment_of(home: Path, port: int) -> dict[str, str]:
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home / "not" / "there" / "yet"),
        "PREFECT_SERVER_API_PORT": str(port),
        "POLARITY_HOME": str(home),
    }
    environment.pop("PREFECT_API_URL", None)
    return environment


def run(module: str, *arguments: str, home: Path, port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment_of(home, port),
        stdin=subprocess.DEVNULL,
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


@flow(name="long")
def long() -> None:
    pass


def answered(answer: str, *, home: Path, port: int, meanwhile: Callable[[], object] = lambda: None) -> tuple[int, str]:
    """Run `ops.ui stop` at a terminal, answer its question, and return its exit code and what it showed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ops.ui", "stop"]
    process = subprocess.Popen(
        command, env=environment_of(home, port), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    try:
        while True:
            shown += os.read(ours, 4096)
            if b"(Enter)?" in shown and answer:
                os.write(ours, answer.encode())
                answer = ""
                meanwhile()
    except OSError:  # the terminal is closed
        pass
    os.close(ours)
    return process.wait(60), shown.decode()


@pytest.mark.soak
def test_stop_asks_while_a_run_is_in_progress(tmp_path: Path) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    try:
        assert run("ops.server", home=tmp_path, port=port).returncode == 0
        with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
            started = client.create_flow_run(long, name="train-nightly", state=Running())
            refused = run("ops.ui", "stop", home=tmp_path, port=port)
            assert refused.returncode == 1
            assert "train-nightly" in refused.stderr
            assert "make stop FORCE=1" in refused.stderr
            code, shown = answered("\n", home=tmp_path, port=port)
            assert (code, "train-nightly" in shown, "Nothing was stopped." in shown) == (1, True, True)
            assert httpx.get(f"{api}/health").is_success
            code, shown = answered(
                "w\n", home=tmp_path, port=port, meanwhile=lambda: client.set_flow_run_state(started.id, Completed())
            )
            assert (code, "Stopped prefect." in shown) == (0, True)
        assert run("ops.server", home=tmp_path, port=port).returncode == 0
        with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
            client.create_flow_run(long, state=Running())
    finally:
        stopped = run("ops.ui", "stop", "--force", home=tmp_path, port=port)
    assert stopped.stdout == "Stopped prefect.\n"


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
