"""Background processes, each with a pid file and a log in `.state/` of the project's home folder."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from polarity.config.settings import PROJECT, settings
from polarity.errors import ConfigurationError, PolarityError

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 15


@contextmanager
def exit_on_error(prog: str) -> Iterator[None]:
    """Print an error of the project's own on stderr and exit: 2 if the configuration is wrong, 1 otherwise."""
    try:
        yield
    except PolarityError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)


@dataclass(frozen=True)
class Service:
    """A background process."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables for this process alone. Addresses with passwords go here: anybody can read a command line."""

    @property
    def pid_file(self) -> Path:
        return settings().home.absolute() / ".state" / f"{self.name}.pid"

    @property
    def log_file(self) -> Path:
        return self.pid_file.with_suffix(".log")

    def process(self) -> psutil.Process | None:
        """Return the running process, or None if it has ended, even if its pid has been reused."""
        try:
            record = json.loads(self.pid_file.read_text())
            process = psutil.Process(record["pid"])
            same = abs(process.create_time() - record["started"]) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, psutil.Error):
            return None

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the process unless it is running, and wait until it is ready.

        Raises
        ------
        SystemExit
            If the process exits, or is not ready in time.
        """
        if self.process() is None:
            self.pid_file.parent.mkdir(parents=True, exist_ok=True)
            with self.log_file.open("wb") as log:
                child = subprocess.Popen(
                    self.command,
                    cwd=PROJECT,
                    env={**os.environ, **(environment or {}), **self.environment},
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            started = psutil.Process(child.pid).create_time()
            self.pid_file.write_text(json.dumps({"pid": child.pid, "started": started}))
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.ready():
            if self.process() is None or time.monotonic() > deadline:
                tail = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-8:])
                sys.exit(f"{self.name} did not start; is its port taken? The end of {self.log_file}:\n{tail}")
            time.sleep(0.5)

    def stop(self) -> bool:
        """Stop the process and all its children; return whether it was running."""
        process = self.process()
        if process is not None:
            family = [process, *process.children(recursive=True)]
            for one in family:
                with suppress(psutil.Error):
                    one.terminate()
            for one in psutil.wait_procs(family, timeout=STOP_TIMEOUT_S)[1]:
                with suppress(psutil.Error):
                    one.kill()
        self.pid_file.unlink(missing_ok=True)
        return process is not None
