"""Clients that mean harm to a served Bento: its memory stays bounded, and ordinary clients get their answers.

Each attack has a short form in `make test`; in `make soak` it lasts half a minute, and all of them together an hour
(POLARITY_SOAK_S, in seconds). The attackers have an address of their own, as they would have.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from benchmarks.processes import resident_bytes
from benchmarks.serving.arrivals import Arrivals, run_arrivals
from polarity.bento.server import BentoServer, served
from polarity.errors import ArtifactError
from polarity.inference.package import ModelManifest
from polarity.inference.tfidf import WEIGHTS

pytestmark = pytest.mark.skipif("BASE_URL" in os.environ, reason="needs a server of its own")

MIB = 1024 * 1024
SOAK_S = float(os.environ.get("POLARITY_SOAK_S", "3600"))
ATTACKER = "127.0.0.2"
ATTACKERS = 8
# Requests a second of other clients, whose latency is measured.
OTHERS = 50.0
# The budget of the bodies under way, and what a busy server may take besides.
BUDGET_MIB, ALLOWED_MIB = 32, 96
LIMITS = {
    "POLARITY_HEAD_TIMEOUT_S": "2",
    "POLARITY_BODY_TIMEOUT_S": "3",
    "POLARITY_SEND_TIMEOUT_S": "2",
    "POLARITY_MAX_BUFFERED_MIB": str(BUDGET_MIB),
    "POLARITY_MAX_CONNECTIONS": "128",
    "POLARITY_MAX_CONNECTIONS_PER_CLIENT": "80",
}


class Attacker:
    """A client that opens connections to the server until its time is up."""

    def __init__(self, url: str, seconds: float) -> None:
        address = urlsplit(url)
        self._address = (address.hostname or "", address.port or 80)
        self._until = time.monotonic() + seconds

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self._until

    def connect(self) -> socket.socket:
        return socket.create_connection(self._address, timeout=0.5, source_address=(ATTACKER, 0))

    def pour(self, start: bytes, piece: bytes) -> None:
        """On one connection after another: send the start, then the same piece for ever, and read nothing."""
        while self.goes_on:
            with suppress(OSError), self.connect() as connection:
                connection.sendall(start)
                while self.goes_on:
                    connection.sendall(piece)

    def hold(self, start: bytes, connections: int) -> None:
        """Open connections, send the start on each, and wait; open those again that the server closes."""
        held: list[socket.socket] = []
        while self.goes_on:
            with suppress(OSError):
                held.append(self.connect())
                held[-1].sendall(start)
            if len(held) >= connections:
                time.sleep(0.1)
                held = [connection for connection in held if not closed(connection)]
        for connection in held:
            connection.close()

    def ask(self, path: str, content: Callable[[int], bytes], *, refused: int = 422) -> None:
        """Send bodies to a path and wait for each answer, or refusal with the path's status for a wrong body."""
        transport = httpx.HTTPTransport(local_address=ATTACKER)
        url = f"http://{self._address[0]}:{self._address[1]}{path}"
        with httpx.Client(transport=transport, trust_env=False, timeout=30) as client:
            number = 0
            while self.goes_on:
                number += 1
                assert client.post(url, content=content(number)).status_code in (200, refused, 429)


def closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return not connection.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines]).encode() + b"\r\n\r\n"


def long_words(number: int) -> bytes:
    """A valid batch of texts with one long word each, none of which was seen before."""
    syllables = random.Random(number)
    return json.dumps({"texts": ["".join(syllables.choices("aeioulnrst", k=500)) * 4 for _ in range(100)]}).encode()


CHUNKED = head("/predict", "Transfer-Encoding: chunked")
PLAIN = head("/predict", "Content-Length: 16") + b'{"text": "good"}'
LISTS = b'{"texts":[' + b"[]," * 400_000 + b"[]]}"
TENSOR = LISTS.replace(b'{"texts":', b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":') + b"]}"
BATCH = head("/predict/batch", "Content-Length: 4000000") + b'{"texts": ["' + b"a" * 3_900_000

ATTACKS: dict[str, Callable[[Attacker], None]] = {
    "endless headers": lambda one: one.pour(b"GET / HTTP/1.1\r\n", b"a:b\r\n" * 10_000),
    "an endless URL": lambda one: one.pour(b"GET /", b"x" * 50_000),
    "endless trailers": lambda one: one.pour(CHUNKED + b"1\r\n{\r\n0\r\n", b"a:b\r\n" * 10_000),
    "endless pipelined requests": lambda one: one.pour(b"", head("/healthz", method="GET") * 1000),
    "answers unread": lambda one: one.pour(b"", PLAIN),
    "half heads": lambda one: one.hold(b"GET / HTTP/1.1\r\nHost: x\r\n", 40),
    "silent connections": lambda one: one.hold(b"", 40),
    "stalled batches": lambda one: one.hold(BATCH, 10),
    "long unique words": lambda one: one.ask("/predict/batch", long_words),
    "lists of lists": lambda one: one.ask("/predict/batch", lambda _: LISTS),
    "tensors of lists": lambda one: one.ask("/v2/models/sentiment/infer", lambda _: TENSOR, refused=400),
}


class OrdinaryClient:
    """Sends a text every few milliseconds, each on a new connection, and counts the answers."""

    def __init__(self, server: BentoServer) -> None:
        self._server = server
        self.answers: Counter[Any] = Counter()
        self.peak_bytes = 0
        self._stopped = threading.Event()

    def watch_memory(self) -> None:
        """Keep the server's largest memory, also while it does not answer."""
        while not self._stopped.wait(0.05):
            self.peak_bytes = max(self.peak_bytes, resident_bytes(self._server.process.pid))

    def run(self) -> None:
        while not self._stopped.wait(0.02):
            try:
                response = httpx.post(
                    f"{self._server.url}/predict", json={"text": "what a good day"}, trust_env=False, timeout=10
                )
            except httpx.HTTPError as error:
                self.answers[repr(error)] += 1
            else:
                self.answers[response.status_code] += 1

    def stop(self) -> None:
        self._stopped.set()


@contextmanager
def in_threads(*functions: Callable[[], None]) -> Iterator[None]:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def withstand(server: BentoServer, attacks: list[str], *, seconds: float) -> None:
    """Attack the server, and check that an ordinary client gets all its answers and that memory stays bounded."""
    before = resident_bytes(server.process.pid)
    ordinary, attacker = OrdinaryClient(server), Attacker(server.url, seconds)

    def attack(name: str) -> None:
        if sys.platform == "linux":  # attackers have cores of their own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        ATTACKS[name](attacker)

    with in_threads(ordinary.run, ordinary.watch_memory):
        try:
            with in_threads(*(partial(attack, name) for name in attacks)):
                pass
        finally:
            ordinary.stop()
    # An overload, 429, is an answer: the attackers' valid requests are requests, too.
    assert set(ordinary.answers) <= {200, 429} and ordinary.answers[200], ordinary.answers
    grown_mib = (ordinary.peak_bytes - before) / MIB
    assert grown_mib < BUDGET_MIB + ALLOWED_MIB, f"{attacks[0]}: {grown_mib:.0f} MiB more than before"
    assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def server(serve: Any) -> Iterator[BentoServer]:
    with serve(**LIMITS) as server:
        for number in range(20):
            body = {"texts": [f"a good day {number} {n}" for n in range(100)]}
            httpx.post(f"{server.url}/predict/batch", json=body, trust_env=False, timeout=30).raise_for_status()
        yield server


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_affects_nobody_else(server: BentoServer, attack: str) -> None:
    withstand(server, [attack] * ATTACKERS, seconds=3.0)


@pytest.mark.soak
@pytest.mark.parametrize("attack", ATTACKS)
def test_half_a_minute_of_an_attack(serve: Any, attack: str, tmp_path: Path) -> None:
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_text("".join(json.dumps({"text": f"what a good day {n}"}) + "\n" for n in range(1000)))
    roomy = {**LIMITS, "POLARITY_MAX_CONNECTIONS": "256"}  # the load generator has 64 of its own
    with serve(**roomy) as server, ThreadPoolExecutor(1) as background:

        def others(seconds: float) -> Arrivals:
            return run_arrivals(f"{server.url}/predict", bodies, rate=OTHERS, pattern="poisson", seconds=seconds)

        others(2.0)
        usual = others(10.0)
        under_attack = background.submit(others, 28.0)
        withstand(server, [attack] * ATTACKERS, seconds=30.0)
        found, mib = under_attack.result(), resident_bytes(server.process.pid) / MIB
        print(f"p99 {usual.p99_ms:.1f} ms, {found.p99_ms:.1f} ms under attack; {found.statuses}; {mib:.0f} MiB")
        assert found.unanswered == 0 and set(found.statuses) <= {"200", "429"}
        assert found.p99_ms <= 5 * usual.p99_ms


@pytest.mark.soak
@pytest.mark.timeout(SOAK_S + 900)
def test_attacks_at_random_leave_nothing_behind(serve: Any) -> None:
    draw = random.Random(11)
    with serve(**LIMITS) as server:
        # Caches are full and the allocator has its working set after one round of each.
        for attack in ATTACKS:
            withstand(server, [attack] * ATTACKERS, seconds=3.0)
        before = resident_bytes(server.process.pid)
        until = time.monotonic() + SOAK_S
        while time.monotonic() < until:
            withstand(server, draw.choices([*ATTACKS], k=ATTACKERS), seconds=20.0)
        after = resident_bytes(server.process.pid)
        print(f"{before / MIB:.0f} MiB before, {after / MIB:.0f} MiB after")
        assert after < 1.1 * before, "nothing is kept for good"


def test_body_beyond_the_budget_is_refused(server: BentoServer) -> None:
    attacker = Attacker(server.url, 30.0)
    answers = Counter[bytes]()
    with ExitStack() as stack:
        held = [stack.enter_context(attacker.connect()) for _ in range(12)]
        for connection in held:
            connection.settimeout(10)
            with suppress(ConnectionError):
                connection.sendall(BATCH)
        for connection in held:
            # A refusal may be lost if the client is still sending; then the connection is reset.
            with suppress(ConnectionError):
                answers[connection.recv(65536)[9:12]] += 1
    assert set(answers) <= {b"503", b"408"}
    assert answers[b"408"] <= 8, "the others waited for the rest in the budget, until they were too slow"


@pytest.fixture
def spoilt(packaged: Path, tmp_path: Path) -> Path:
    """A model that answers "not a number", with the digests that belong to it."""
    folder = Path(shutil.copytree(packaged, tmp_path / "model"))
    with np.load(folder / WEIGHTS) as file:
        weights = {**file}
    weights["intercepts"] = np.full_like(weights["intercepts"], np.nan)
    with (folder / WEIGHTS).open("wb") as out:
        np.savez(out, **weights)
    ModelManifest.read(folder, check=False).with_files(folder, WEIGHTS).write(folder)
    return folder


def unlist(folder: Path) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": {}}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda _: None, "intercepts that are not finite numbers"),
        (unlist, "cannot be loaded from the files that model.json lists"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "is altered: 0 bytes"),
    ],
    ids=["NaN", "unlisted", "altered"],
)
def test_server_of_a_bad_package_ends_once_and_in_words(
    spoilt: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(spoilt)
    with (
        pytest.raises(ArtifactError) as caught,
        served("bentos.service:Sentiment", environment={"POLARITY_MODEL": str(spoilt)}),
    ):
        raise AssertionError("unreachable")
    log = str(caught.value)
    assert log.count("The server cannot start: ") == 1 and reason in log
    assert "Traceback" not in log


def test_server_without_the_keys_it_was_to_have_does_not_start(serve: Any) -> None:
    with (
        pytest.raises(ArtifactError, match="POLARITY_API_KEY is set but holds no key"),
        serve(POLARITY_API_KEY=" , "),
    ):
        raise AssertionError("unreachable")
