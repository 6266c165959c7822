"""The servers under comparison, each with one worker process and started as its users would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from polarity.bento.server import free_port, served, stop
from polarity.bento.store import bento_folder
from polarity.errors import ServiceUnavailable

PEER, BENTO, BATCHED = "FastAPI + uvicorn", "this Bento", "bare ASGI, the same batcher"
_START_S = 120.0
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
def started(
    command: Sequence[str], url: str, *, environment: Mapping[str, str], asked: object = None
) -> Iterator[Running]:
    """Start a server that is ready when it responds at `url`; with `asked`, when it answers a POST of that with 200.

    Raises
    ------
    ServiceUnavailable
        If it ends, or is not ready within two minutes.
    """
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + _START_S
        with httpx.Client(trust_env=False, verify=False) as client:
            while not _is_ready(client, url, asked):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ServiceUnavailable(f"'{' '.join(command)}' does not answer.")
                time.sleep(0.1)
        yield Running(url, process.pid)
    finally:
        stop(process)


def _is_ready(client: httpx.Client, url: str, asked: object) -> bool:
    try:
        if asked is not None:
            return client.post(url, json=asked).status_code == 200
        client.get(url)
    except httpx.HTTPError:
        return False
    return True


def _uvicorn(application: str, **environment: str) -> AbstractContextManager[Running]:
    port = str(free_port())
    arguments = ["-m", "uvicorn", application, "--port", port, "--no-access-log", "--log-level", "warning"]
    variables = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return started([sys.executable, *arguments], f"http://127.0.0.1:{port}", environment=variables)


@contextmanager
def bentoml_server(target: str | Path, **environment: str) -> Iterator[Running]:
    """A Bento, or a service, with a home of its own."""
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
        lambda: bentoml_server("benchmarks.serving.plain:Plain", PEER_MODEL=str(model)),
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
            lambda: bentoml_server(bento_folder(tag), POLARITY_PREDICTION_LOG=str(log), **options),
            bulk_route="/predict/batch",
        ),
        Server(UNRECORDED, lambda: bentoml_server(bento_folder(tag), POLARITY_PREDICTION_LOG="off", **options)),
        Server(BATCHED, lambda: _uvicorn("benchmarks.serving.batched:app", PEER_MODEL=str(model))),
        Server("bare ASGI route, no model", lambda: _uvicorn("benchmarks.serving.bare:app")),
    ]
