"""`python -m flows.ui [stop]`: the Prefect server with a worker, MLflow and the runs' pages, in the background.

Each service has a pid file and a log in `.state/` of the project's home; what runs already is left alone.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.deploy import POOL, deploy
from flows.server import ensure_server
from polarity.mlflow_store import connect
from polarity.settings import PROJECT, settings

PATIENCE_S = 120
STOP_S = 15


@dataclass(frozen=True)
class Service:
    """A program in the background."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]

    @property
    def pid_file(self) -> Path:
        return settings().home.absolute() / ".state" / f"{self.name}.pid"

    @property
    def log_file(self) -> Path:
        return self.pid_file.with_suffix(".log")

    def process(self) -> psutil.Process | None:
        """The running program; none if it has ended, also where another one has its number by now."""
        try:
            record = json.loads(self.pid_file.read_text())
            process = psutil.Process(record["pid"])
            same = abs(process.create_time() - record["started"]) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, psutil.Error):
            return None

    def start(self, environment: dict[str, str]) -> None:
        """Start it, if it does not run, and wait until it is ready.

        Raises
        ------
        SystemExit
            If it ends or is not ready in time.
        """
        if self.process() is None:
            self.pid_file.parent.mkdir(parents=True, exist_ok=True)
            with self.log_file.open("wb") as log:
                child = subprocess.Popen(
                    self.command,
                    cwd=PROJECT,
                    env={**os.environ, **environment},
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            started = psutil.Process(child.pid).create_time()
            self.pid_file.write_text(json.dumps({"pid": child.pid, "started": started}))
        deadline = time.monotonic() + PATIENCE_S
        while not self.ready():
            if self.process() is None or time.monotonic() > deadline:
                tail = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-8:])
                sys.exit(f"{self.name} did not start; is its port taken? The end of {self.log_file}:\n{tail}")
            time.sleep(0.5)

    def stop(self) -> bool:
        """End it with all its children; whether it ran."""
        process = self.process()
        if process is not None:
            family = [process, *process.children(recursive=True)]
            for one in family:
                with suppress(psutil.Error):
                    one.terminate()
            for one in psutil.wait_procs(family, timeout=STOP_S)[1]:
                with suppress(psutil.Error):
                    one.kill()
        self.pid_file.unlink(missing_ok=True)
        return process is not None


def services() -> list[Service]:
    """What `make ui` starts beside the Prefect server."""
    here, mlflow = settings(), urlsplit(settings().mlflow_ui_url)
    python = (sys.executable, "-m")
    return [
        Service(
            "worker",
            (*python, "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "polarity"),
            _worker_is_online,
        ),
        Service(
            "mlflow",
            (
                *python,
                "mlflow",
                "server",
                "--backend-store-uri",
                here.tracking_uri,
                "--default-artifact-root",
                here.artifact_root,
                "--workers",
                "1",
                "--host",
                mlflow.hostname or "127.0.0.1",
                "--port",
                str(mlflow.port or 80),
            ),
            lambda: _answers(f"{here.mlflow_ui_url}/health"),
        ),
        Service("pages", (*python, "flows.pages"), lambda: _answers(f"{here.ui_url}/runs/")),
    ]


def start() -> None:
    """Bring everything up, deploy, and print where it is."""
    api = ensure_server()
    here = settings()
    here.runs_folder.mkdir(parents=True, exist_ok=True)
    connect(here.tracking_uri)  # creates the tables before a server and a worker want to do so at once
    environment = {
        "PREFECT_API_URL": api,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")])),
    }
    with temporary_settings({PREFECT_API_URL: api}):
        os.environ["PREFECT_API_URL"] = api
        for gone in deploy():
            print(f"Took away {gone}, which prefect.yaml does not name any more.")
        for service in services():
            service.start(environment)
    print(
        f"\n  Prefect   {api.removesuffix('/api')}/deployments\n"
        f"  MLflow    {here.mlflow_ui_url}\n"
        f"  Runs      {here.ui_url}/runs/\n\n"
        "`make stop` stops them."
    )


def stop() -> None:
    """Stop what `start` started, but the Prefect server: `prefect server stop` does that."""
    for service in services():
        if service.stop():
            print(f"Stopped {service.name}.")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def _worker_is_online() -> bool:
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/work_pools/{name}/workers/filter", path_params={"name": POOL}, json={})
        return any(worker["status"] == "ONLINE" for worker in found.json())


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            start()
        case ["stop"]:
            stop()
        case _:
            sys.exit("Usage: python -m flows.ui [stop]")
