"""A temporary `bentoml serve` process that dies with this one."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from polarity.errors import ArtifactError, ServiceUnavailable

_LOG_TAIL_LINES = 20
_STOP_TIMEOUT_S = 20.0
# Below those that operating systems give to outgoing connections: one of these could be taken between the moment
# it is found free and the server's start.
_PORTS = range(20_000, 32_768)
# Asks the kernel for a signal when the parent dies (prctl 1), then becomes the server.
_DIE_WITH_PARENT = (
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 15)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])\n"
)
# Logged by the server when its service cannot start; BentoML would retry for ever.
_CANNOT_START = ("Application startup failed", "Initializing service error", "Failed to load bento")


def bentoml_environment(**variables: str) -> dict[str, str]:
    """The environment for a BentoML process: this one's, without usage reports and server settings."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("POLARITY_MODEL", "BENTOML_PORT")}
    return {**inherited, "BENTOML_DO_NOT_TRACK": "True", **variables}


def tail(log: str) -> str:
    """The last lines of a log, which contain the reason of a failure."""
    return "\n".join(log.splitlines()[-_LOG_TAIL_LINES:])


def free_port() -> int:
    """A port of the loopback interface that nobody uses, and that no outgoing connection will be given."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


class BentoServer:
    """A running server: its URL, its process and its log."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path, ready_s: float) -> None:
        self.url = url
        self.process = process
        self.ready_s = ready_s
        self._log = log

    @property
    def log(self) -> str:
        """Everything the server has logged so far."""
        return self._log.read_text(errors="replace")


@contextmanager
def served(
    target: str | Path,
    *,
    timeout_s: float = 120.0,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    ready_status: int = 200,
    port: int | None = None,
) -> Iterator[BentoServer]:
    """Serve a Bento on the loopback interface until the block ends, or the thread that began it.

    Parameters
    ----------
    target : str or Path
        A Bento's folder or tag, or the import path of a service.
    timeout_s : float
        Maximum time until the server is ready.
    python : str
        Interpreter with bentoml installed.
    environment : mapping, optional
        Variables for the server. Unless BENTOML_HOME is set here, the server gets its own: two servers that share
        a home delete each other's metrics.
    ready_status : int
        Status of the readiness route to wait for; 503 for a server that is not expected to become ready.
    port : int, optional
        Default: a free one.

    Raises
    ------
    ArtifactError
        If the service cannot start; the message includes the end of the server's log.
    ServiceUnavailable
        If it is not ready in time.
    """
    with tempfile.TemporaryDirectory(prefix="polarity-served-") as folder:
        log_file = Path(folder) / "server.log"
        (Path(folder) / "bentoml").mkdir()
        defaults = {
            "BENTOML_HOME": str(Path(folder) / "bentoml"),
            "POLARITY_PREDICTION_LOG": str(Path(folder) / "predictions.db"),
        }
        port = port or free_port()
        arguments = ["-m", "bentoml", "serve", str(target), "--host", "127.0.0.1", "--port", str(port)]
        started = time.monotonic()
        variables = bentoml_environment(**{**defaults, **(environment or {})})
        process = start_dependent(arguments, environment=variables, log=log_file, python=python)
        server = BentoServer(f"http://127.0.0.1:{port}", process, log_file, 0.0)
        try:
            _wait_until_ready(server, str(target), started + timeout_s, ready_status)
            server.ready_s = time.monotonic() - started
            yield server
        finally:
            stop(process)


def start_dependent(
    arguments: Sequence[str], *, environment: Mapping[str, str], log: Path, python: str = sys.executable
) -> subprocess.Popen[bytes]:
    """Start a Python process that ends when the calling thread does, however that happens; `stop` ends it earlier."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [python, "-c", _DIE_WITH_PARENT, str(os.getpid()), *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server that `start_dependent` started, gracefully if possible."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT_S)
    # Kill the rest of its session: workers that outlived their supervisor.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _wait_until_ready(server: BentoServer, target: str, until: float, status: int) -> None:
    # One client, and without certificates: loading them for each look would take a third of a core from the server.
    with httpx.Client(base_url=server.url, timeout=1.0, trust_env=False, verify=False) as client:
        while time.monotonic() < until:
            # The socket listens before the model is loaded, so the response may take a while.
            with suppress(httpx.HTTPError):
                if client.get("/readyz").status_code == status:
                    return
            log = server.log
            if server.process.poll() is not None or any(sign in log for sign in _CANNOT_START):
                raise ArtifactError(f"{target} cannot be served. The end of the server's log:\n{tail(log)}")
            time.sleep(0.05)
    raise ServiceUnavailable(f"{target} was not ready in time. The end of the server's log:\n{tail(server.log)}")
