"""The page as `make page` starts it, on a free port, until a block ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from polarity.bento.server import free_port
from polarity.config.settings import PROJECT
from tests.integration.servers import until

PYTHON = PROJECT / "page" / ".venv" / "bin" / "python"
INSTALLED = (PROJECT / "page" / ".venv" / ".installed").is_file()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass(frozen=True)
class PageServer:
    """The page's address, its process if it was started here, and how long it took until it answered."""

    url: str
    process: subprocess.Popen[bytes] | None
    ready_s: float


@contextmanager
def page_server(log: Path, service: str, **variables: str) -> Iterator[PageServer]:
    """Start the page for a service."""
    url = f"http://127.0.0.1:{free_port()}"
    known = {name: value for name, value in os.environ.items() if not name.startswith("POLARITY_")}
    environment = {**known, "POLARITY_URL": service, "POLARITY_PAGE_URL": url, **variables}
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PYTHON, "-m", "page"], cwd=PROJECT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with suppress(httpx.HTTPError):
            return httpx.get(f"{url}/_stcore/health", timeout=2, trust_env=False).is_success
        return False

    try:
        until(answers, 60, message="the page did not start")
        yield PageServer(url, process, time.monotonic() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
