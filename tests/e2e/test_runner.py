"""The model in a separate process: the same responses, and correct health when that process is killed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from polarity.bento.server import BentoServer, served
from polarity.errors import ArtifactError

pytestmark = pytest.mark.skipif("BASE_URL" in os.environ, reason="needs a server of its own")


@pytest.fixture(scope="module")
def apart(serve: Any) -> Iterator[BentoServer]:
    """A gateway and a runner."""
    with serve(POLARITY_RUNNER="process") as server:
        yield server


@pytest.fixture(scope="module")
def client(apart: BentoServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=apart.url, timeout=30.0, trust_env=False) as client:
        yield client


def runner_of(server: BentoServer) -> psutil.Process:
    children = psutil.Process(server.process.pid).children(recursive=True)
    return next(child for child in children if "runner" in child.cmdline())


def test_runner_predicts_like_a_model_in_the_gateway(client: httpx.Client, base_url: str) -> None:
    texts = ["so good", "so bad", "", "a\u0000b", "😀" * 2000, "שלום\u200f عالم", "what a day"]
    here = httpx.post(f"{base_url}/predict/batch", json={"texts": texts}, trust_env=False).json()["predictions"]
    there = client.post("/predict/batch", json={"texts": texts}).json()["predictions"]
    for one, other in zip(here, there, strict=True):
        assert one.get("error") == other.get("error")
        assert one.get("probabilities") == pytest.approx(other.get("probabilities"), abs=1e-5)


def test_runner_explains_like_a_model_in_the_gateway(client: httpx.Client, base_url: str) -> None:
    body = {"text": "never a good day :("}
    here, there = httpx.post(f"{base_url}/explain", json=body, trust_env=False), client.post("/explain", json=body)
    assert there.status_code == 200 and there.json()["words"] == here.json()["words"]


def test_many_texts_are_sent_to_the_runner_in_batches(client: httpx.Client) -> None:
    before = client.get("/metrics").text.count("\n")
    assert before
    answer = client.post("/predict/batch", json={"texts": [f"tweet number {n}" for n in range(1000)]})
    assert answer.status_code == 200 and len(answer.json()["predictions"]) == 1000
    bunches = [
        float(line.split()[-1])
        for line in client.get("/metrics").text.splitlines()
        if line.startswith("polarity_batches_total{")
    ]
    assert 0 < sum(bunches) < 60, "a thousand texts need a few calls, not a thousand"


def test_killed_runner_is_reported_immediately_and_restarts(apart: BentoServer, client: httpx.Client) -> None:
    assert client.get("/readyz").status_code == 200
    runner = runner_of(apart)
    runner.kill()
    refused = client.post("/predict", json={"text": "anyone there"})
    assert refused.status_code == 503 and refused.headers["retry-after"]
    ready = client.get("/readyz")
    assert ready.status_code == 503 and "gone" in ready.json()["detail"]
    assert client.get("/livez").status_code == client.get("/healthz").status_code == 200
    assert client.post("/predict", json={"text": "7"}).status_code == 400, "refusals need no model"
    until = time.monotonic() + 90
    while client.get("/readyz").status_code != 200 and time.monotonic() < until:
        assert client.post("/predict", json={"text": "anyone there"}).status_code in (200, 503)
        time.sleep(0.1)
    assert runner_of(apart).pid != runner.pid
    assert client.post("/predict", json={"text": "back again"}).status_code == 200


def test_missing_configured_gpu_is_reported(neural: Path) -> None:
    environment = {"POLARITY_MODEL": str(neural), "POLARITY_DEVICE": "gpu", "CUDA_VISIBLE_DEVICES": "-1"}
    with served("bentos.service:Sentiment", environment=environment, ready_status=503) as server:
        until, detail = time.monotonic() + 60, ""
        while "requires a GPU" not in detail and time.monotonic() < until:
            ready = httpx.get(f"{server.url}/readyz", trust_env=False, timeout=30.0)
            assert ready.status_code == 503
            detail = ready.json()["detail"]
            time.sleep(0.1)
        assert "POLARITY_DEVICE requires a GPU" in detail
        assert httpx.post(f"{server.url}/predict", json={"text": "x"}, trust_env=False).status_code == 503
        assert "cannot become ready" in server.log


def test_gpu_for_a_cpu_only_model_prevents_startup(serve: Any) -> None:
    with pytest.raises(ArtifactError, match="use cpu or auto for this family"), serve(POLARITY_DEVICE="gpu"):
        raise AssertionError("unreachable")
