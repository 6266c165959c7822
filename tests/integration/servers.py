"""Real servers that tests can kill and restart: Prefect, PostgreSQL, a Dask cluster; and a site of static files."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
import pytest
import uvicorn
from distributed import Client

from polarity.bento.server import free_port
from polarity.config.settings import PROJECT


def until(condition: Callable[[], object], timeout_s: float = 300, *, message: str = "timed out") -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.02)


@contextmanager
def uvicorn_server(app: Any, **options: Any) -> Iterator[int]:
    """Serve an ASGI application in a thread; yield the port."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join()


@dataclass
class PrefectServer:
    """A Prefect server with a separate home folder, on SQLite by default."""

    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        """Start or restart the server, and wait until it responds."""
        known = {"PREFECT_HOME": str(self.home), "PREFECT_LOGGING_LEVEL": "WARNING", **self.environment}
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)],
                env={**os.environ, **known},
                cwd=PROJECT,
                stdout=log,
                stderr=log,
            )
        until(self._answers, message="the Prefect server did not respond in time")

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.home / "server.log").read_text()
        try:
            return httpx.get(f"{self.api}/health", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """SIGKILL the server and all its child processes."""
        for process in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
            process.kill()
        self._process.wait(20)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


class Postgres:
    """A PostgreSQL server with the databases `prefect` and `mlflow`."""

    def __init__(self) -> None:
        self._bin = _postgres_programs()
        # PostgreSQL refuses to run as root, and other users cannot read pytest's folders
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user and not _is_user(self._user):
            pytest.skip("needs the user postgres, created by Debian's package, because root cannot run PostgreSQL")
        self._folder = Path(tempfile.mkdtemp(prefix="polarity-postgres-"))
        if self._user:
            shutil.chown(self._folder, self._user)
        self._data = self._folder / "data"
        self.port = free_port()
        subprocess.run(
            [self._bin / "initdb", "--pgdata", self._data, "--username", "polarity", "--auth", "trust", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            user=self._user,
            cwd=self._folder,
        )

    def url(self, database: str, driver: str = "") -> str:
        """Return the URL of a database, with an optional SQLAlchemy driver."""
        return f"postgresql{driver}://polarity@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start or restart the server, and wait until it responds."""
        until(self._started, message="PostgreSQL did not start")
        with suppress(psycopg2.errors.DuplicateDatabase):
            connection = psycopg2.connect(self.url("postgres"))
            connection.autocommit = True
            for database in ("prefect", "mlflow"):
                connection.cursor().execute(f"CREATE DATABASE {database}")

    def _started(self) -> bool:
        with (self._folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._bin / "postgres", "-D", self._data, "-p", str(self.port), "-k", "", "-h", "127.0.0.1",
                    "-c", "max_connections=200",
                ],
                user=self._user,
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )  # fmt: skip
        while self._process.poll() is None:
            try:
                psycopg2.connect(self.url("postgres")).close()
            except psycopg2.OperationalError:
                time.sleep(0.1)
            else:
                return True
        return False  # processes of the killed server may still be exiting

    def kill(self) -> None:
        """SIGKILL the server; its child processes notice and exit."""
        self._process.kill()
        self._process.wait(20)

    def remove(self) -> None:
        self._process.send_signal(signal.SIGINT)  # fast shutdown: does not wait for clients
        self._process.wait(60)
        shutil.rmtree(self._folder)


def _postgres_programs() -> Path:
    """The folder of `initdb` and `postgres`."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    if folders := sorted(Path("/usr/lib/postgresql").glob("*/bin")):
        return folders[-1]
    pytest.skip("needs PostgreSQL (Debian: apt-get install postgresql)")


def _is_user(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


class DaskCluster:
    """A scheduler, and workers that are not restarted automatically when killed."""

    def __init__(self, logs: Path, environment: Mapping[str, str] | None = None) -> None:
        self._logs = logs
        self._environment = environment or {}
        port = free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._scheduler = self._start("scheduler", "scheduler", "--host", "127.0.0.1", "--port", str(port))

    def start_worker(self, name: str, resources: str | None = None) -> None:
        """Start a single-threaded worker."""
        declared = ["--resources", resources] if resources else []
        self.workers[name] = self._start(
            name, "worker", self.address, "--name", name, "--nthreads", "1", "--no-nanny", *declared
        )

    def wait(self) -> None:
        """Wait until all workers have connected."""
        with Client(self.address, timeout=200, set_as_default=False) as client:
            until(lambda: len(client.nthreads()) == len(self.workers), message="the Dask workers did not connect")

    def stop(self) -> None:
        processes = [*self.workers.values(), self._scheduler]
        for process in processes:
            process.kill()
        for process in processes:
            process.wait(20)

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
                stdout=log,
                stderr=log,
                cwd=PROJECT,
                env={**os.environ, **self._environment},
            )


@contextmanager
def dask_cluster(
    logs: Path, *, resources: Sequence[str | None] = (None, None), environment: Mapping[str, str] | None = None
) -> Iterator[DaskCluster]:
    """Start a cluster with one worker per entry of `resources`, named worker-0 and so on."""
    cluster = DaskCluster(logs, environment)
    try:
        for number, declared in enumerate(resources):
            cluster.start_worker(f"worker-{number}", declared)
        cluster.wait()
        yield cluster
    finally:
        cluster.stop()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def static_site(folder: Path) -> Iterator[int]:
    """A web server on loopback that serves a folder; yields its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
