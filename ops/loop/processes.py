"""The processes that people start: a Prefect server with a worker, trainings, and commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import yaml

from flows.outages import is_responding
from ops.deploy import FILE, POOL, deploy
from ops.loop.kills import kill_later, kill_server
from ops.loop.tweets import Tweet
from polarity.bento.server import BentoServer, served, start_dependent, stop, tail
from polarity.config.settings import PROJECT
from polarity.errors import PolarityError, ServiceUnavailable
from polarity.pipeline.config import merged

TRAINING: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("training.yaml").read_text(encoding="utf-8"))
_PATIENCE_S = 120
_BETWEEN_TRAININGS_S = 30


class Processes:
    """Starts processes with the environment of this one, and keeps their logs.

    Parameters
    ----------
    home : Path
        Folder of the logs and of the tweets that trainings read.
    stack : ExitStack
        Ends what was started.
    """

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self._home = home
        self._stack = stack
        # A server ends with the thread that started it, and the threads of the kills end soon.
        self._starting = stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="servers"))
        self.worker: subprocess.Popen[bytes]

    def start_prefect(self) -> None:
        """Start the server that PREFECT_API_URL names, and wait until it responds."""
        api = os.environ["PREFECT_API_URL"]
        port = api.removesuffix("/api").rpartition(":")[2]
        self._start("prefect", "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port)
        wait_until(lambda: is_responding(api), "the Prefect server responds")

    def deploy(self, tweets: Path) -> None:
        """Deploy `train/on-drift` as prefect.yaml has it, with the loop's tweets and settings, and start a worker."""
        content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
        (on_drift,) = (one for one in content["deployments"] if one["name"] == "on-drift")
        given = merged(on_drift["parameters"]["config"], TRAINING["on-drift"])
        on_drift["parameters"]["config"] = merged(given, {"data": {"path": str(tweets)}})
        on_drift["triggers"][0]["within"] = _BETWEEN_TRAININGS_S
        file = self._home / "prefect.yaml"
        file.write_text(yaml.safe_dump({**content, "deployments": [on_drift]}), encoding="utf-8")
        deploy(file)
        self.worker = self._start("worker", "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process")

    def train(self, tweets: Path, *arguments: str, killed_after_s: float = 0.0) -> None:
        """Train by the command line, with the settings of the first training.

        With `killed_after_s` the training is killed then, and nothing is said of it.
        """
        given = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in TRAINING["first"].items()
        }
        options = [part for name, value in given.items() for part in (f"--{name}", value)]
        log = tweets.with_suffix(".log")
        with log.open("wb") as output:
            command = [sys.executable, "-m", "flows.train", "--data.path", str(tweets), *options, *arguments]
            if killed_after_s:
                kill_later(command, killed_after_s)
                return
            done = subprocess.run(command, cwd=PROJECT, stdout=output, stderr=output, check=False)
        if done.returncode:
            raise PolarityError(f"The training failed. The end of its log:\n{tail(log.read_text(errors='replace'))}")

    def run(self, *arguments: str) -> None:
        """Run a command of `python -m polarity`."""
        command = [sys.executable, "-m", "polarity", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
        if done.returncode:
            raise PolarityError(f"`python -m polarity {arguments[0]}` failed: {done.stdout}{done.stderr}")

    def write(self, name: str, tweets: list[Tweet]) -> Path:
        """Write labelled tweets as a file that a training reads."""
        path = self._home / name
        pd.DataFrame({"text": [t.text for t in tweets], "label": [t.label for t in tweets]}).to_csv(path, index=False)
        return path

    def serve(self, target: str | Path, **variables: str) -> BentoServer:
        """Serve a Bento on a free port."""
        return self._stack.enter_context(served(target, environment=variables))

    def restart(self, server: BentoServer, target: str | Path, **variables: str) -> BentoServer:
        """Kill a server, and start it again at the same address, as a supervisor does."""
        kill_server(server)
        again = served(target, environment=variables, port=urlsplit(server.url).port)
        return self._starting.submit(self._stack.enter_context, again).result()

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        process = start_dependent(arguments, environment=os.environ, log=self._home / f"{name}.log")
        self._stack.callback(stop, process)
        return process


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so.

    Raises
    ------
    ServiceUnavailable
        After two minutes.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceUnavailable(f"The loop waited for {_PATIENCE_S} s in vain until {what}.")
        time.sleep(0.1)
