"""Deployments of real images on this machine's containers, under clients that keep asking.

`make container-test` runs it: it needs an image, in CONTAINER_IMAGE, and the engine that has it, in CONTAINER_BACKEND.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from deploy.errors import DeployError, SmokeTestFailed
from deploy.host import Host, Settings
from polarity.bento.server import free_port
from polarity.config.settings import PROJECT
from tests.integration.servers import until

IMAGE, BACKEND = os.environ.get("CONTAINER_IMAGE", ""), os.environ.get("CONTAINER_BACKEND", "")
pytestmark = pytest.mark.skipif(not IMAGE or not BACKEND, reason="needs an image (make container-test builds one)")

Variant = Callable[[str], str]
Deployed = Callable[..., Host]


class Clients:
    """Threads that ask for predictions until they are stopped, over kept and over new connections."""

    def __init__(self, url: str) -> None:
        self.answered = 0
        self.problems: list[str] = []
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(kept,)) for kept in (True, True, False)]
        for thread in self._threads:
            thread.start()

    def _ask(self, kept: bool) -> None:
        headers = {} if kept else {"connection": "close"}
        with httpx.Client(base_url=self._url, trust_env=False, headers=headers, timeout=30) as client:
            while not self._over.wait(0.005):
                try:
                    response = client.post("/predict", json={"text": "what a lovely day"})
                    if response.status_code == 200 and response.json()["sentiment"]:
                        self.answered += 1
                    else:
                        self.problems.append(f"{response.status_code} {response.text}")
                except httpx.HTTPError as error:
                    self.problems.append(repr(error))

    def go_on(self) -> None:
        """Return when they have been answered a while longer."""
        wanted = self.answered + 50
        until(lambda: self.answered >= wanted or self.problems, 60)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def variant() -> Iterator[Variant]:
    """An image with one more line than the image under test."""
    built: list[str] = []

    def build(line: str) -> str:
        name = f"localhost/polarity-variant-{len(built)}:latest"
        command = [BACKEND, "build", "--quiet", "--tag", name, "-"]
        subprocess.run(command, input=f"FROM {IMAGE}\n{line}\n", text=True, check=True, capture_output=True)
        built.append(name)
        return name

    yield build
    subprocess.run([BACKEND, "rmi", "--force", *built], capture_output=True, check=False)


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployed]:
    port, base_port = free_port(), free_port()

    def host(**options: object) -> Host:
        return Host(
            Settings(
                folder=tmp_path / "state",
                name="polarity-under-test",
                listen=f"127.0.0.1:{port}",
                base_port=base_port,
                volume="polarity-under-test-deploy",
                backend=BACKEND,
                **options,  # type: ignore[arg-type]
            )
        )

    yield host
    host().remove()
    subprocess.run([BACKEND, "volume", "rm", "--force", "polarity-under-test-deploy"], capture_output=True, check=False)


def test_clients_notice_neither_deployments_nor_failed_ones(
    deployed: Deployed, variant: Variant, tmp_path: Path
) -> None:
    host = deployed()
    host.deploy(IMAGE)
    first = host.state
    listen = host._settings.listen
    clients = Clients(f"http://{listen}")
    try:
        clients.go_on()
        # another deployment meanwhile is refused
        again = f"{sys.executable} -m deploy up {IMAGE} --folder {tmp_path / 'state'} --backend {BACKEND}"
        second = deployed(check=("sh", "-c", f"{again}; test $? = 3"))
        second.deploy(variant("LABEL version=2"))
        assert second.state.slot != first.slot and second.state.image != first.image
        assert second.state.previous == first.image
        clients.go_on()

        for line, options, reason in (
            ("ENV POLARITY_WORKERS=none", {}, "POLARITY_WORKERS='none'"),  # it does not start
            (
                "ENV POLARITY_LOG_DURABLE=true POLARITY_PREDICTION_LOG=/no/x",
                {"ready_s": 10.0},
                "was not ready within 10 s",
            ),
            ("LABEL version=3", {"expect": "sentiment:other"}, "not sentiment:other"),
            ("LABEL version=4", {"check": ("false",)}, "false failed with exit code 1"),
        ):
            with pytest.raises((SmokeTestFailed, DeployError), match=reason):
                deployed(**options).deploy(variant(line))
            assert deployed().state == second.state
            clients.go_on()

        # it passes the smoke test, and ends before it gets the clients
        ends = (BACKEND, "stop", f"polarity-under-test-{first.slot}")
        with pytest.raises(DeployError, match="does not find"):
            deployed(check=ends).deploy(variant("LABEL version=5"))
        assert deployed().state == second.state
        clients.go_on()

        back = deployed()
        back.rollback()
        assert back.state.image == first.image and back.state.previous == second.state.image
        clients.go_on()
    finally:
        clients.stop()
    print(f"{clients.answered} requests were answered.")
    assert not clients.problems and clients.answered > 400
    history = (tmp_path / "state" / "history.jsonl").read_text()
    assert [line.count('"live"') for line in history.splitlines()] == [1, 1, 0, 0, 0, 0, 0, 1]


def test_a_label_finds_the_prediction_of_the_version_before(deployed: Deployed, variant: Variant) -> None:
    host = deployed()
    host.deploy(IMAGE)
    with httpx.Client(base_url=f"http://{host._settings.listen}", trust_env=False) as client:
        prediction = client.post("/predict", json={"text": "what a lovely day"}).json()
        deployed().deploy(variant("LABEL version=2"))
        label = {"prediction_id": prediction["prediction_id"], "label": prediction["sentiment"]}
        assert client.post("/feedback", json=label).status_code == 201
        # a client of the front cannot claim to be a proxy
        document = client.get("/openapi.json", headers={"x-forwarded-prefix": "/elsewhere"}).json()
    assert "servers" not in document


def test_the_command_says_what_is_live(deployed: Deployed) -> None:
    host = deployed()
    settings = host._settings
    where = ["--folder", str(settings.folder), "--name", settings.name, "--listen", settings.listen]
    where += ["--base-port", str(settings.base_port), "--volume", settings.volume, "--backend", BACKEND]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deploy", *arguments]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    assert run("rollback", *where).returncode == 1
    up = run("up", IMAGE, *where)
    assert up.returncode == 0 and "It is live." in up.stdout, up.stderr
    status = run("status", *where)
    assert "is live in blue" in status.stdout and "blue: L7OK" in status.stdout
    smoke = run("smoke", f"http://{settings.listen}", "--expect", "sentiment:other")
    assert smoke.returncode == 1 and "not sentiment:other" in smoke.stderr
    assert run("smoke", f"http://{settings.listen}").returncode == 0
    assert run("down", *where).returncode == 0
