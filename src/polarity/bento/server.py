"""A Bento served for a while, by `bentoml serve` itself, in a process that dies with this one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from polarity.errors import ArtifactError, ServiceUnavailable

_LOG_TAIL_LINES = 20
_STOP_TIMEOUT_S = 20.0
# Asks the kernel for a signal at the parent's death (prctl 1), then becomes the server.
_DIE_WITH_PARENT = (
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 15)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])\n"
)
# What the server says when its service cannot start; BentoML would try again for ever.
_CANNOT_START = ("Application startup failed", "Initializing service error", "Failed to load bento")


def bentoml_environment(**variables: str) -> dict[str, str]:
    """The environment of a BentoML process: this one's, without usage reports and without settings of a server."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("POLARITY_MODEL", "BENTOML_PORT")}
    return {**inherited, "BENTOML_DO_NOT_TRACK": "True", **variables}


def tail(log: str) -> str:
    """The end of a log, where the reason stands."""
    return "\n".join(log.splitlines()[-_LOG_TAIL_LINES:])


def free_port() -> int:
    """A port of the loopback interface that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class BentoServer:
    """A running server: its address, its process and what it has said."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path, ready_s: float) -> None:
        self.url = url
        self.process = process
        self.ready_s = ready_s
        self._log = log

    @property
    def log(self) -> str:
        """All that the server has said so far."""
        return self._log.read_text(errors="replace")


@contextmanager
def served(
    target: str | Path,
    *,
    timeout_s: float = 120.0,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    started_at: int = 200,
) -> Iterator[BentoServer]:
    """Serve a Bento on a free port of the loopback interface until the block ends.

    Parameters
    ----------
    target : str or Path
        A Bento's folder or tag, or the import path of a service.
    timeout_s : float
        Longest time until the server is ready.
    python : str
        Interpreter that has bentoml.
    environment : mapping, optional
        Variables for the server. Unless BENTOML_HOME is among them, it gets a home of its own: two servers with
        one home delete each other's metrics.
    started_at : int
        The status of the readiness route that is waited for: 503 for a server that is not expected to become ready.

    Raises
    ------
    ArtifactError
        If the service cannot start; the message has the end of the server's log.
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
        port = free_port()
        arguments = ["-m", "bentoml", "serve", str(target), "--host", "127.0.0.1", "--port", str(port)]
        started = time.monotonic()
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [python, "-c", _DIE_WITH_PARENT, str(os.getpid()), *arguments],
                env=bentoml_environment(**{**defaults, **(environment or {})}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = BentoServer(f"http://127.0.0.1:{port}", process, log_file, 0.0)
        try:
            _wait_until_ready(server, str(target), started + timeout_s, started_at)
            server.ready_s = time.monotonic() - started
            yield server
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server that `served` started, gracefully if it lets us."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT_S)
    # Whatever is left of its session: workers that outlived their supervisor.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _wait_until_ready(server: BentoServer, target: str, until: float, status: int) -> None:
    while time.monotonic() < until:
        try:
            # The socket listens before the model is loaded, so a request may have to wait for its answer.
            if httpx.get(f"{server.url}/readyz", timeout=1.0, trust_env=False).status_code == status:
                return
        except httpx.HTTPError:
            pass
        log = server.log
        if server.process.poll() is not None or any(sign in log for sign in _CANNOT_START):
            raise ArtifactError(f"{target} cannot be served. The end of the server's log:\n{tail(log)}")
        time.sleep(0.05)
    raise ServiceUnavailable(f"{target} was not ready in time. The end of the server's log:\n{tail(server.log)}")
