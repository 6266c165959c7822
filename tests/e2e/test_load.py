"""Overload and sustained load: orderly refusals, stable memory, and recovery.

Each test has a short form in `make test` and a long form in `make soak`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.processes import resident_bytes
from benchmarks.serving.arrivals import Arrivals, run_arrivals
from benchmarks.serving.load import Load, run_load
from polarity.bento.server import BentoServer, free_port
from tests.integration.telemetry_receiver import KEY, TelemetryReceiver

pytestmark = pytest.mark.skipif("BASE_URL" in os.environ, reason="needs a server of its own")

ANSWERS = {"200", "429", "503", "504"}
MIB = 1024 * 1024


@pytest.fixture
def server(serve: Any) -> Iterator[BentoServer]:
    """A server with a maximum wait of 0.1 s, so that a small excess is an overload."""
    with serve(POLARITY_MAX_WAIT_S="0.1", POLARITY_MAX_QUEUE="128") as server:
        yield server


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    """Single texts, all distinct."""
    path = tmp_path / "bodies.jsonl"
    path.write_text("".join(json.dumps({"text": f"such a good day number {n}"}) + "\n" for n in range(2000)))
    return path


def memory_bytes(server: BentoServer) -> int:
    return resident_bytes(server.process.pid)


def saturate(url: str, bodies: Path, *, seconds: float) -> Load:
    return run_load(url, bodies, connections=64, seconds=seconds)


def overload(server: BentoServer, bodies: Path, *, seconds: float) -> tuple[Load, Arrivals, Arrivals]:
    """Run at the saturating rate, at twice that rate, then at a tenth of it."""
    url = f"{server.url}/predict"
    saturated = saturate(url, bodies, seconds=min(10.0, seconds))
    rate = saturated.requests_per_s
    beyond = run_arrivals(url, bodies, rate=2 * rate, pattern="poisson", seconds=seconds)
    after = run_arrivals(url, bodies, rate=rate / 10, pattern="poisson", seconds=min(5.0, seconds))
    return saturated, beyond, after


def refusals(server: BentoServer) -> int:
    """Number of requests that the server says it has refused with 429."""
    metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
    return sum(int(float(number)) for number in re.findall(r'^polarity_requests_total{.*"429"} (.*)$', metrics, re.M))


def test_every_request_gets_a_response_under_overload(server: BentoServer, bodies: Path) -> None:
    _, beyond, after = overload(server, bodies, seconds=3.0)
    assert beyond.unanswered == 0 and set(beyond.statuses) <= ANSWERS
    assert beyond.statuses["200"] > 0
    assert refusals(server) == beyond.statuses["429"], "each is counted"
    assert set(after.statuses) == {"200"} and after.unanswered == 0, "back to normal"
    assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200


def test_refused_work_gets_429_with_retry_after(server: BentoServer) -> None:
    texts = {"texts": [f"a text of many {n}" for n in range(1000)]}
    refused = httpx.post(f"{server.url}/predict/batch", json=texts, trust_env=False, timeout=30.0)
    assert refused.status_code in (200, 429)

    def at_once() -> list[httpx.Response]:
        import concurrent.futures

        with concurrent.futures.ThreadPoolExecutor(16) as pool, httpx.Client(trust_env=False, timeout=60.0) as client:
            return list(pool.map(lambda _: client.post(f"{server.url}/predict/batch", json=texts), range(32)))

    responses = at_once()
    assert {response.status_code for response in responses} <= {200, 429}
    busy = [response for response in responses if response.status_code == 429]
    assert busy and all(int(response.headers["retry-after"]) >= 1 and response.json()["detail"] for response in busy)


def test_memory_is_stable_under_load(server: BentoServer, bodies: Path) -> None:
    url = f"{server.url}/predict"
    rate = saturate(url, bodies, seconds=2.0).requests_per_s
    before = memory_bytes(server)
    run_arrivals(url, bodies, rate=rate / 2, pattern="bursty", seconds=3.0)
    # An undrained queue or log would take more than this.
    assert memory_bytes(server) - before < 32 * MIB


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_one_minute_at_twice_the_saturating_load(serve: Any, bodies: Path) -> None:
    with serve() as server:
        overload(server, bodies, seconds=5.0)  # warm-up: memory after every code path has run
        before = memory_bytes(server)
        saturated, beyond, after = overload(server, bodies, seconds=60.0)
        assert beyond.unanswered == 0 and set(beyond.statuses) <= ANSWERS
        assert beyond.p99_ms <= 3 * saturated.p99_ms, (saturated, beyond)
        assert memory_bytes(server) < 1.1 * before
        assert set(after.statuses) == {"200"} and after.unanswered == 0
        assert after.p50_ms < saturated.p50_ms, "back to normal"


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_ten_minutes_at_half_load(serve: Any, bodies: Path) -> None:
    with serve() as server:
        url = f"{server.url}/predict"
        rate = saturate(url, bodies, seconds=20.0).requests_per_s
        run_arrivals(url, bodies, rate=rate / 2, pattern="poisson", seconds=60.0)
        before = memory_bytes(server)
        ten = run_arrivals(url, bodies, rate=rate / 2, pattern="poisson", seconds=600.0)
        assert set(ten.statuses) == {"200"} and ten.unanswered == 0, ten
        assert memory_bytes(server) < 1.05 * before


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("receiver", ["dead", "silent"])
def test_ten_minutes_without_the_receivers_of_telemetry(serve: Any, bodies: Path, receiver: str) -> None:
    """Beside a server whose receivers are there, so that whatever else the machine does slows down both."""
    with (
        TelemetryReceiver(silent=True).running() as silent,
        TelemetryReceiver().running() as there,
        ThreadPoolExecutor(2) as background,
    ):
        away = silent.url if receiver == "silent" else f"http://127.0.0.1:{free_port()}"

        def sent_to(address: str) -> dict[str, str]:
            return {
                "OTEL_EXPORTER_OTLP_ENDPOINT": address,
                "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint={address}/",
                "POLARITY_TELEMETRY_SAMPLE": "1",
            }

        with serve(**sent_to(away)) as server, serve(**sent_to(there.url)) as other:

            def both(seconds: float) -> tuple[Arrivals, Arrivals]:
                running = [
                    background.submit(
                        run_arrivals, f"{url}/predict", bodies, rate=100.0, pattern="poisson", seconds=seconds
                    )
                    for url in (server.url, other.url)
                ]
                return running[0].result(), running[1].result()

            both(120.0)
            before = memory_bytes(server)
            ten, beside = both(600.0)
            print(f"p50 and p99 {beside.p50_ms:.2f} and {beside.p99_ms:.2f} ms with receivers, ", end="")
            print(f"{ten.p50_ms:.2f} and {ten.p99_ms:.2f} ms without; {before / MIB:.0f} MiB")
            for of in (ten, beside):
                assert set(of.statuses) == {"200"} and of.unanswered == 0, of
            assert memory_bytes(server) < 1.05 * before
            assert ten.p50_ms <= 1.1 * beside.p50_ms and ten.p99_ms <= 1.5 * beside.p99_ms, (beside, ten)
        assert there.requests > 0 and (silent.requests > 0 or receiver == "dead")
