"""Kills processes of the loop with SIGKILL, as a machine that runs out of memory or power does."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from polarity.bento.server import BentoServer
from polarity.config.settings import PROJECT
from polarity.errors import ServiceUnavailable

_SOONEST_S, _LATEST_S = 2.0, 12.0
# A monitor starts for some four seconds, and works for one or two.
_OF_MONITOR_S = 3.0, 7.0
_PATIENCE_S = 300.0


class Kills:
    """Kills at random moments, in threads of its own, and says so.

    Parameters
    ----------
    say : callable
        Tells an event.
    seed : int
        Of the moments.
    """

    def __init__(self, say: Callable[[str], None], *, seed: int = 31) -> None:
        self.count = 0
        self._say = say
        self._random = random.Random(seed)
        self._threads: list[threading.Thread] = []
        self._problems: list[Exception] = []

    def soon(self, what: str, kill: Callable[[], object]) -> None:
        """Kill something a few seconds from now."""
        wait_s = self._random.uniform(_SOONEST_S, _LATEST_S)

        def run() -> None:
            time.sleep(wait_s)
            try:
                kill()
            except Exception as error:
                self._problems.append(error)
                return
            self.count += 1
            self._say(f"kill -9: {what}.")

        self._threads.append(threading.Thread(target=run, name=f"kill {what}", daemon=True))
        self._threads[-1].start()

    def monitor(self, *options: str) -> None:
        """Start a monitor beside the loop's own, and kill it in the middle of its work."""
        after_s = self._random.uniform(*_OF_MONITOR_S)
        self.soon("a monitor", lambda: kill_later([sys.executable, "-m", "flows.monitor", *options], after_s))

    def finish(self) -> None:
        """Wait until everything that was to be killed has been."""
        while self._threads:
            self._threads.pop().join(_PATIENCE_S)
        if self._problems:
            raise self._problems[0]


def kill_later(command: Sequence[str], after_s: float) -> None:
    """Start a process and kill it."""
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)


def kill_server(server: BentoServer) -> None:
    """Kill all processes of a server, with the recorder: workers whose supervisor is gone would go on answering."""
    supervisor = psutil.Process(server.process.pid)
    for process in (supervisor, *supervisor.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    server.process.wait(_PATIENCE_S)


def kill_training(worker: subprocess.Popen[bytes], age_s: float) -> None:
    """Kill the process of a flow run that a worker has started, once it has run for some seconds.

    Raises
    ------
    ServiceUnavailable
        If the worker starts none within five minutes.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for process in psutil.Process(worker.pid).children():
            if time.time() - process.create_time() > age_s:
                process.kill()
                return
        time.sleep(0.1)
    raise ServiceUnavailable(f"The worker has started no training within {_PATIENCE_S:.0f} s.")
