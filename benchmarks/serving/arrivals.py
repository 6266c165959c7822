"""An open-loop load generator: requests are sent when due, whether or not earlier ones have been answered.

Latency is measured from the time a request was due, so a stalling server does not hide its own delay
(coordinated omission). Runs as a separate process:

    python -m benchmarks.serving.arrivals URL REQUESTS.jsonl --rate 500 --pattern bursty --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio
import gc
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
import numpy.typing as npt
import uvloop

from benchmarks.serving.load import is_complete

FloatArray = npt.NDArray[np.float64]
Pattern = Literal["poisson", "bursty"]
PATTERNS: tuple[Pattern, ...] = ("poisson", "bursty")

# Opened before the first request is due, for as many requests as fall due in this time: to open one takes longer than
# to send a request, and a generator that opens hundreds in its first second is behind its own schedule.
_FIRST_CONNECTIONS_S = 0.05
_FEWEST_CONNECTIONS, _MOST_CONNECTIONS = 64, 1000
# Requests that fall due within a tick are sent together: an event loop iteration for each would cost more than sending.
_TICK_S = 0.001
_SENDS_PER_TICK = 64
# Gamma-distributed gaps: with this shape, their standard deviation is about three times that of a Poisson process.
_BURST_SHAPE = 0.1
_DRAIN_S = 40.0


@dataclass(frozen=True)
class Arrivals:
    """How a server handled the arriving requests.

    Attributes
    ----------
    p50_ms, p95_ms, p99_ms : float
        Latency of the responses with status 200, from the time each request was due.
    unanswered : int
        Requests whose connection broke, or that got no response in time.
    p99_ms_by_second : list of float
        The same latency by the second in which the requests were due; NaN for one without responses.
    refused_by_second : list of int
        Responses with another status, by that second.
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
    p99_ms_by_second: list[float]
    refused_by_second: list[int]


class _Connection(asyncio.Protocol):
    def __init__(self, traffic: _Traffic) -> None:
        self._traffic = traffic
        self._buffer = b""
        self._due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._traffic.release(self)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not is_complete(self._buffer):
            return
        status, due = self._buffer[9:12].decode(), self._due
        self._buffer, self._due = b"", None
        if due is not None:
            self._traffic.answered(self, status, due)

    def connection_lost(self, exc: Exception | None) -> None:
        self._traffic.lost(self, self._due is not None)


class _Traffic:
    """The requests that are due, and the connections to send them on."""

    def __init__(self, host: str, port: int, requests: Iterator[bytes]) -> None:
        self._address = host, port
        self._requests = requests
        self._connections: set[asyncio.Task[object]] = set()
        self.free: list[_Connection] = []
        self._waiting: deque[float] = deque()
        self.latencies_s: list[float] = []
        self.due_at: list[float] = []
        self.refused_at: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.open = self.broken = 0

    def dispatch(self, at: float) -> None:
        self.open += 1
        if self.free:
            self.free.pop().send(next(self._requests), at)
        else:
            self._waiting.append(at)
            self.connect()

    def connect(self) -> None:
        """Open one more connection, up to a limit."""
        if len(self._connections) < _MOST_CONNECTIONS:
            loop = asyncio.get_running_loop()
            self._connections.add(loop.create_task(loop.create_connection(lambda: _Connection(self), *self._address)))

    def release(self, connection: _Connection) -> None:
        if self._waiting:
            connection.send(next(self._requests), self._waiting.popleft())
        else:
            self.free.append(connection)

    def answered(self, connection: _Connection, status: str, due: float) -> None:
        self.open -= 1
        self.statuses[status] += 1
        if status == "200":
            self.latencies_s.append(time.perf_counter() - due)
            self.due_at.append(due)
        else:
            self.refused_at.append(due)
        self.release(connection)

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
    traffic = _Traffic(host, port, cycle([head.encode() + b"%d\r\n\r\n" % len(body) + body for body in bodies]))
    first_connections = min(max(int(rate * _FIRST_CONNECTIONS_S), _FEWEST_CONNECTIONS), _MOST_CONNECTIONS)
    for _ in range(first_connections):
        traffic.connect()
    while len(traffic.free) < first_connections:
        await asyncio.sleep(0.001)
    random, n_requests = np.random.default_rng(7), int(rate * seconds)
    shape = 1.0 if pattern == "poisson" else _BURST_SHAPE
    offsets = deque(np.cumsum(random.gamma(shape, 1 / (rate * shape), n_requests)).tolist())
    started = time.perf_counter()
    while offsets:
        elapsed, budget = time.perf_counter() - started, _SENDS_PER_TICK
        while offsets and offsets[0] <= elapsed and budget:
            traffic.dispatch(started + offsets.popleft())
            budget -= 1
        # When behind schedule, still let the event loop read responses.
        await asyncio.sleep(_TICK_S if budget else 0)
    offered_s = time.perf_counter() - started
    until = time.perf_counter() + _DRAIN_S
    while traffic.open and time.perf_counter() < until:
        await asyncio.sleep(0.01)
    elapsed = time.perf_counter() - started
    p50, p95, p99 = 1000 * np.percentile(traffic.latencies_s or [np.nan], (50, 95, 99))
    return Arrivals(
        pattern,
        n_requests / offered_s,
        elapsed,
        len(traffic.latencies_s) / elapsed,
        p50,
        p95,
        p99,
        dict(traffic.statuses),
        traffic.broken + traffic.open,
        _p99_ms_by_second(traffic.latencies_s, np.array(traffic.due_at) - started, int(seconds)),
        np.bincount((np.array(traffic.refused_at) - started).astype(int), minlength=int(seconds)).tolist(),
    )


def _p99_ms_by_second(latencies_s: list[float], due_s: FloatArray, seconds: int) -> list[float]:
    latencies_ms, second = 1000 * np.array(latencies_s), due_s.astype(int)
    return [
        float(np.percentile(latencies_ms[second == one], 99)) if (second == one).any() else np.nan
        for one in range(seconds)
    ]


def run_arrivals(url: str, bodies: Path, *, rate: float, pattern: Pattern, seconds: float) -> Arrivals:
    """Generate open-loop load on `url` from a separate process."""
    command = [sys.executable, "-m", "benchmarks.serving.arrivals", url, str(bodies)]
    command += ["--rate", str(rate), "--pattern", pattern, "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=2 * seconds + 120)
    return Arrivals(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("bodies", type=Path, help="file with one JSON body per line")
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--pattern", choices=PATTERNS, default="poisson")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    bodies = options.bodies.read_bytes().splitlines()
    # A collection of all that the libraries have made stopped the clock for 80 ms, every second or so.
    gc.disable()
    uvloop.install()
    arrivals = asyncio.run(
        _arrive(options.url, bodies, rate=options.rate, pattern=options.pattern, seconds=options.seconds)
    )
    print(json.dumps(asdict(arrivals)))


if __name__ == "__main__":
    main()
