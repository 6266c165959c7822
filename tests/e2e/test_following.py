"""A server of `sentiment:latest` takes over what becomes the latest, and no client notices but by the version."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from polarity.bento import build
from polarity.bento import store as bento
from polarity.bento.server import BentoServer, served
from polarity.inference.package import MANIFEST

pytestmark = pytest.mark.skipif("BASE_URL" in os.environ, reason="needs a server of its own")

WAIT_S = 60.0


class Client:
    """Asks on one connection, again and again, and keeps what it gets."""

    def __init__(self, url: str) -> None:
        self.bentos: list[str] = []
        self.lost: list[str] = []
        self._url = url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30.0, trust_env=False) as client:
            while not self._stopping.is_set():
                try:
                    answer = client.post("/predict", json={"text": "what a good day"})
                except httpx.HTTPError as error:
                    self.lost.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.bentos.append(answer.json()["model"]["bento"])
                else:
                    self.lost.append(answer.text)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def changes(self) -> list[str]:
        """The Bentos in the order in which they answered."""
        return [one for before, one in zip(["", *self.bentos], self.bentos, strict=False) if one != before]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    return tmp_path / "bentoml"


@pytest.fixture
def stocked(home: Path, tag: str, bentoml_home: Path, train: Callable[[Path, int], Path], tmp_path: Path) -> list[str]:
    """Two candidates with the same code and different models; the first one is promoted."""
    candidates = []
    for seed, version in enumerate(("one", "two"), 1):
        folder = home / "bentos" / build.CANDIDATE / version
        shutil.copytree(bentoml_home / "bentos" / tag.replace(":", "/"), folder)
        description = folder / "bento.yaml"
        description.write_text(
            description.read_text().replace(f"version: {tag.partition(':')[2]}", f"version: {version}")
        )
        shutil.rmtree(folder / "src" / "model")
        train(folder / "src" / "model", seed)
        candidates.append(f"{build.CANDIDATE}:{version}")
    bento.promote(candidates[0])
    return candidates


@pytest.fixture
def server(home: Path, stocked: list[str]) -> Iterator[BentoServer]:
    with served("sentiment:latest", environment={"BENTOML_HOME": str(home)}) as server:
        yield server


def get(server: BentoServer, path: str) -> httpx.Response:
    return httpx.get(server.url + path, timeout=30.0, trust_env=False)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def answers_with(server: BentoServer, tag: str) -> bool:
    return bool(get(server, "/").json()["model"]["bento"] == tag)


def test_moves_and_a_rollback_lose_no_request(server: BentoServer, stocked: list[str]) -> None:
    with Client(server.url) as first, Client(server.url) as second:
        for candidate in (stocked[1], stocked[0], stocked[1]):
            promoted = bento.promote(candidate)
            for client in (first, second):
                wait_for(lambda client=client, promoted=promoted: client.bentos[-1:] == [promoted])  # type: ignore[misc]
    for client in (first, second):
        assert client.lost == []
        assert client.changes() == ["sentiment:one", "sentiment:two", "sentiment:one", "sentiment:two"]
    status = get(server, "/status").json()
    assert status["model"]["bento"] == "sentiment:two"
    assert status["following"] == {"tag": "sentiment:latest", "problem": None}
    models = [line for line in get(server, "/metrics").text.splitlines() if line.startswith("polarity_model_info{")]
    assert {line.split('bento="')[1].split('"')[0]: float(line.split()[-1]) for line in models} == {
        "sentiment:one": 0.0,
        "sentiment:two": 1.0,
    }


def test_bad_packages_and_other_code_leave_the_old_one_serving(server: BentoServer, stocked: list[str]) -> None:
    good = bento.promote(stocked[1], latest=False)
    weights = bento.model_folder(good) / "weights.npz"
    intact = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(intact[:-1] + b"!")
    pointer = bento.bento_folder(good).parent / "latest"
    with Client(server.url) as client:
        pointer.write_text("two")
        wait_for(lambda: get(server, "/status").json()["following"]["problem"] is not None)
        assert "is altered" in get(server, "/status").json()["following"]["problem"]
        assert "polarity_follow_problem 1.0" in get(server, "/metrics").text
        assert "is altered" in server.log
        weights.write_bytes(intact)
        manifest = bento.model_folder(good) / MANIFEST
        content = manifest.read_bytes()
        manifest.unlink()
        manifest.write_bytes(content)
        wait_for(lambda: answers_with(server, good))
        code = bento.bento_folder("sentiment:one") / "src" / "bentos" / "demo.py"
        text = code.read_text()
        code.unlink()
        code.write_text(text + "# another version\n")
        pointer.write_text("one")
        wait_for(lambda: get(server, "/status").json()["following"]["problem"] is not None)
        assert "restart" in get(server, "/status").json()["following"]["problem"]
    assert client.lost == [] and client.changes() == ["sentiment:one", "sentiment:two"]


@pytest.mark.soak
def test_a_server_of_one_version_follows_nothing(home: Path, stocked: list[str]) -> None:
    environment = {"BENTOML_HOME": str(home)}
    with served("sentiment:one", environment=environment) as pinned:
        bento.promote(stocked[1])
        time.sleep(1.5)
        assert answers_with(pinned, "sentiment:one") and get(pinned, "/status").json()["following"] is None
    with served("sentiment:latest", environment={**environment, "POLARITY_FOLLOW": "false"}) as server:
        assert get(server, "/status").json()["following"] is None


def test_a_worker_killed_in_a_move_returns_with_the_latest(server: BentoServer, stocked: list[str]) -> None:
    workers = [
        one
        for one in psutil.Process(server.process.pid).children(recursive=True)
        if "_bentoml_impl.worker.service" in " ".join(one.cmdline())
    ]
    promoted = bento.promote(stocked[1])
    for worker in workers:
        worker.kill()

    def back() -> bool:
        try:
            return answers_with(server, promoted)
        except httpx.HTTPError:
            return False

    wait_for(back)
    assert json.loads(get(server, "/status").content)["following"]["problem"] is None
