"""A closed-loop load generator for one route: each connection sends its next request once it has a response.

It implements just enough HTTP/1.1 to cost little compared with the server, which runs on the same machine.
Runs as a separate process:

    python -m benchmarks.serving.load URL REQUESTS.jsonl --connections 64 --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import numpy as np
import uvloop

_LENGTH = b"content-length:"


def is_complete(buffer: bytes) -> bool:
    """Return whether the buffer holds a complete response."""
    head = buffer.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = buffer.find(_LENGTH, 0, head)
    if at < 0:
        at = buffer[:head].lower().find(_LENGTH)
    at += len(_LENGTH)
    return len(buffer) >= head + 4 + int(buffer[at : buffer.find(b"\r", at)])


@dataclass(frozen=True)
class Load:
    """Results of a load: latencies in ms, responses by status, and broken connections."""

    connections: int
    seconds: float
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    statuses: dict[str, int]
    broken: int


class _Connection(asyncio.Protocol):
    """One connection; adds its measurements to collections shared by all connections."""

    def __init__(self, requests: cycle[bytes], until: float, latencies: list[float], statuses: Counter[str]) -> None:
        self._requests = requests
        self._until = until
        self._latencies = latencies
        self._statuses = statuses
        self._buffer = b""
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not is_complete(self._buffer):
            return
        now = time.perf_counter()
        self._latencies.append(now - self._sent)
        self._statuses[self._buffer[9:12].decode()] += 1
        self._buffer = b""
        if now >= self._until:
            self._finish(True)
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(False)

    def _finish(self, intact: bool) -> None:
        if not self.done.done():
            self.done.set_result(intact)


async def _load(url: str, bodies: list[bytes], *, connections: int, seconds: float) -> Load:
    address = urlsplit(url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    head = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
    )
    requests = cycle([head.encode() + b"%d\r\n\r\n" % len(body) + body for body in bodies])
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    protocols = []
    for _ in range(connections):
        _, protocol = await loop.create_connection(
            lambda: _Connection(requests, started + seconds, latencies, statuses), host, port
        )
        protocols.append(protocol)
    intact = await asyncio.gather(*(protocol.done for protocol in protocols))
    elapsed = time.perf_counter() - started
    p50, p95, p99 = 1000 * np.percentile(latencies or [np.nan], (50, 95, 99))
    return Load(connections, elapsed, len(latencies) / elapsed, p50, p95, p99, dict(statuses), intact.count(False))


def run_load(url: str, bodies: Path, *, connections: int, seconds: float) -> Load:
    """Generate closed-loop load on `url` from a separate process."""
    command = [sys.executable, "-m", "benchmarks.serving.load", url, str(bodies)]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 60)
    return Load(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("bodies", type=Path, help="file with one JSON body per line")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    bodies = options.bodies.read_bytes().splitlines()
    uvloop.install()
    load = asyncio.run(_load(options.url, bodies, connections=options.connections, seconds=options.seconds))
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
