"""The servers under comparison, each with one worker process and started as its users would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from polarity.bento.server import free_port, served, stop
from polarity.bento.store import bento_folder

PEER, BENTO, BATCHED = "FastAPI + uvicorn", "this Bento", "bare ASGI, the same batcher"
UNRECORDED = f"{BENTO} without its record"


@dataclass(frozen=True)
class Running:
    """A running server: its URL, and the pid of its parent process."""

    url: str
    pid: int


@dataclass(frozen=True)
class Server:
    """One server of the comparison.

    Attributes
    ----------
    route : str
        Route for single texts.
    body : callable
        Builds the request body for one text.
    bulk_route : str, optional
        Route for many texts per request.
    """

    name: str
    start: Callable[[], AbstractContextManager[Running]]
    route: str = "/predict"
    body: Callable[[str], object] = lambda text: {"text": text}
    bulk_route: str | None = None

    def bodies(self, texts: list[str]) -> str:
        """Return the request bodies as JSON, one per line."""
        return "".join(json.dumps(self.body(text)) + "\n" for text in texts)


@contextmanager
def _uvicorn(application: str, **environment: str) -> Iterator[Running]:
    port = free_port()
    arguments = ["-m", "uvicorn", application, "--port", str(port), "--no-access-log", "--log-level", "warning"]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(1200):
            if process.poll() is not None:
                raise RuntimeError(f"{application} did not start.")
            try:
                httpx.get(url, trust_env=False, verify=False)
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield Running(url, process.pid)
    finally:
        stop(process)


@contextmanager
def _bentoml(target: str | Path, **environment: str) -> Iterator[Running]:
    with (
        tempfile.TemporaryDirectory(prefix="polarity-bench-") as home,
        served(target, environment={"BENTOML_HOME": home, **environment}) as server,
    ):
        yield Running(server.url, server.process.pid)


def servers(model: Path, tag: str, *, neural: bool, log: Path, **options: str) -> list[Server]:
    """Return the peer, BentoML as in its guide, this Bento, its batcher alone, and a route without a model.

    Parameters
    ----------
    model : Path
        The packaged model. The peer of a transformer is a `tf.function` of the same size, with random weights.
    tag : str
        The Bento of that model.
    log : Path
        File of the Bento's prediction log.
    **options
        Environment variables of the Bento.
    """
    peer = "peer_tf" if neural else "peer"
    plain = Server(
        "plain BentoML, batchable",
        lambda: _bentoml("benchmarks.serving.plain:Plain", PEER_MODEL=str(model)),
        body=lambda text: {"texts": [text]},
    )
    return [
        Server(
            PEER + (", tf.function" if neural else ""),
            lambda: _uvicorn(f"benchmarks.serving.{peer}:app", PEER_MODEL=str(model)),
        ),
        plain,
        Server(
            BENTO,
            lambda: _bentoml(bento_folder(tag), POLARITY_PREDICTION_LOG=str(log), **options),
            bulk_route="/predict/batch",
        ),
        Server(UNRECORDED, lambda: _bentoml(bento_folder(tag), POLARITY_PREDICTION_LOG="off", **options)),
        Server(BATCHED, lambda: _uvicorn("benchmarks.serving.batched:app", PEER_MODEL=str(model))),
        Server("bare ASGI route, no model", lambda: _uvicorn("benchmarks.serving.bare:app")),
    ]
