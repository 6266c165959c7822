"""An open loop: requests leave when they are due, whether or not the earlier ones are answered.

A latency counts from the time that a request was due, so a server that stalls
cannot slow down the clock that measures it. Runs as a process of its own:

    python -m benchmarks.serving.arrivals URL REQUESTS.jsonl --rate 500 --pattern bursty --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

import numpy as np
import uvloop

from benchmarks.serving.load import whole

Pattern = Literal["poisson", "bursty"]
PATTERNS: tuple[Pattern, ...] = ("poisson", "bursty")

_FIRST_CONNECTIONS, _MOST_CONNECTIONS = 64, 1000
# Requests that came due meanwhile leave together: a turn of the event loop for each would cost more than they do.
_TICK_S = 0.001
_AT_ONCE = 64
# Bursts of gamma-distributed gaps: with this shape, the gaps vary three times as much as Poisson's.
_BURST_SHAPE = 0.1
_LAST_ANSWERS_S = 40.0


@dataclass(frozen=True)
class Arrivals:
    """What a server made of the requests that arrived.

    Attributes
    ----------
    p50_ms, p95_ms, p99_ms : float
        Of the answers with status 200, from the time that each was due.
    unanswered : int
        Requests whose connection broke, or that got no answer in time.
    """

    pattern: str
    offered_per_s: float
    seconds: float
    answered_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    statuses: dict[str, int]
    unanswered: int


class _Connection(asyncio.Protocol):
    def __init__(self, crowd: _Crowd) -> None:
        self._crowd = crowd
        self._buffer = b""
        self._due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._crowd.freed(self)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not whole(self._buffer):
            return
        status, due = self._buffer[9:12].decode(), self._due
        self._buffer, self._due = b"", None
        if due is not None:
            self._crowd.answered(self, status, due)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.lost(self, self._due is not None)


class _Crowd:
    """Requests that are due, and the connections that may carry them."""

    def __init__(self, host: str, port: int, requests: Iterator[bytes]) -> None:
        self._address = host, port
        self._requests = requests
        self._connections: set[asyncio.Task[object]] = set()
        self.free: list[_Connection] = []
        self._waiting: deque[float] = deque()
        self.latencies_s: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.open = self.broken = 0

    def due(self, at: float) -> None:
        self.open += 1
        if self.free:
            self.free.pop().send(next(self._requests), at)
        else:
            self._waiting.append(at)
            self.connect()

    def connect(self) -> None:
        """One more connection, up to a limit."""
        if len(self._connections) < _MOST_CONNECTIONS:
            loop = asyncio.get_running_loop()
            self._connections.add(loop.create_task(loop.create_connection(lambda: _Connection(self), *self._address)))

    def freed(self, connection: _Connection) -> None:
        if self._waiting:
            connection.send(next(self._requests), self._waiting.popleft())
        else:
            self.free.append(connection)

    def answered(self, connection: _Connection, status: str, due: float) -> None:
        self.open -= 1
        self.statuses[status] += 1
        if status == "200":
            self.latencies_s.append(time.perf_counter() - due)
        self.freed(connection)

    def lost(self, connection: _Connection, busy: bool) -> None:
        if busy:
            self.open -= 1
            self.broken += 1
        elif connection in self.free:
            self.free.remove(connection)


async def _arrive(url: str, bodies: list[bytes], *, rate: float, pattern: Pattern, seconds: float) -> Arrivals:
    address = urlsplit(url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    head = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
    )
    crowd = _Crowd(host, port, cycle([head.encode() + b"%d\r\n\r\n" % len(body) + body for body in bodies]))
    for _ in range(_FIRST_CONNECTIONS):
        crowd.connect()
    while len(crowd.free) < _FIRST_CONNECTIONS:
        await asyncio.sleep(0.001)
    random, n_requests = np.random.default_rng(7), int(rate * seconds)
    shape = 1.0 if pattern == "poisson" else _BURST_SHAPE
    offsets = deque(np.cumsum(random.gamma(shape, 1 / (rate * shape), n_requests)).tolist())
    started = time.perf_counter()
    while offsets:
        elapsed, left = time.perf_counter() - started, _AT_ONCE
        while offsets and offsets[0] <= elapsed and left:
            crowd.due(started + offsets.popleft())
            left -= 1
        # Behind time, answers are read all the same.
        await asyncio.sleep(_TICK_S if left else 0)
    offered_s = time.perf_counter() - started
    until = time.perf_counter() + _LAST_ANSWERS_S
    while crowd.open and time.perf_counter() < until:
        await asyncio.sleep(0.01)
    elapsed = time.perf_counter() - started
    p50, p95, p99 = 1000 * np.percentile(crowd.latencies_s or [np.nan], (50, 95, 99))
    return Arrivals(
        pattern,
        n_requests / offered_s,
        elapsed,
        len(crowd.latencies_s) / elapsed,
        p50,
        p95,
        p99,
        dict(crowd.statuses),
        crowd.broken + crowd.open,
    )


def put_arrivals(url: str, bodies: Path, *, rate: float, pattern: Pattern, seconds: float) -> Arrivals:
    """Let requests arrive at `url`, from a process of their own."""
    command = [sys.executable, "-m", "benchmarks.serving.arrivals", url, str(bodies)]
    command += ["--rate", str(rate), "--pattern", pattern, "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=2 * seconds + 120)
    return Arrivals(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("bodies", type=Path, help="one JSON body a line")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--pattern", choices=PATTERNS, default="poisson")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    bodies = options.bodies.read_bytes().splitlines()
    uvloop.install()
    arrivals = asyncio.run(
        _arrive(options.url, bodies, rate=options.rate, pattern=options.pattern, seconds=options.seconds)
    )
    print(json.dumps(asdict(arrivals)))


if __name__ == "__main__":
    main()
