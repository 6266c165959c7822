"""Servers with different options: keys, several workers, slow clients, no log."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from polarity.errors import ArtifactError

pytestmark = pytest.mark.skipif("BASE_URL" in os.environ, reason="needs servers of its own")

KEYS = {"authorization": "Bearer second-key"}


@pytest.fixture(scope="module")
def guarded(serve: Any) -> Iterator[str]:
    """Two workers, two keys, short timeouts and no log."""
    options = {
        "POLARITY_API_KEY": "first-key, second-key",
        "POLARITY_WORKERS": "2",
        "POLARITY_BODY_TIMEOUT_S": "0.5",
        "POLARITY_PREDICTION_LOG": "off",
    }
    with serve(**options) as server:
        yield server.url


@pytest.fixture(scope="module")
def pair(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two workers that share a log."""
    log = tmp_path_factory.mktemp("log") / "predictions.db"
    with serve(POLARITY_WORKERS="2", POLARITY_PREDICTION_LOG=str(log)) as server:
        yield server.url


def get(url: str, path: str, **headers: str) -> httpx.Response:
    return httpx.get(url + path, headers=headers, trust_env=False)


@pytest.mark.parametrize("path", ["/", "/model", "/metrics", "/docs", "/openapi.json", "/schema.json", "/nowhere",
                                  "/static_content/swagger-ui.css"])  # fmt: skip
def test_without_a_key_only_health_routes_are_open(guarded: str, path: str) -> None:
    response = get(guarded, path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json() == {"detail": "Une clé d'accès valide est requise."}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "third-key"},
        {"x-api-key": ""},
        {"x-api-key": "first-key, second-key"},
        {"authorization": "Bearer"},
        {"authorization": "Basic second-key"},
    ],
)
def test_predict_requires_a_valid_key(guarded: str, headers: dict[str, str]) -> None:
    for path in ("/predict", "/predict/", "/predict/batch", "/feedback"):
        response = httpx.post(guarded + path, json={"text": "hello"}, headers=headers, trust_env=False)
        assert response.status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_health_routes_need_no_key(guarded: str, path: str) -> None:
    assert get(guarded, path).status_code == 200


@pytest.mark.parametrize("headers", [{"x-api-key": "first-key"}, KEYS, {"authorization": "bearer first-key"}])
def test_any_configured_key_is_accepted(guarded: str, headers: dict[str, str]) -> None:
    assert httpx.post(guarded + "/predict", json={"text": "hi"}, headers=headers, trust_env=False).status_code == 200
    assert get(guarded, "/metrics", **headers).status_code == 200


def test_without_a_log_only_feedback_is_unavailable(guarded: str) -> None:
    opinion = {"prediction_id": "any", "label": "positive"}
    assert httpx.post(guarded + "/feedback", json=opinion, headers=KEYS, trust_env=False).status_code == 503
    assert httpx.post(guarded + "/predict", json={"text": "hi"}, headers=KEYS, trust_env=False).status_code == 200


def test_slow_client_is_disconnected(guarded: str) -> None:
    address = urlsplit(guarded)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: first-key\r\nContent-Length: 100\r\n\r\n"
    for begun in (b"", b'{"text": "'):
        with socket.create_connection((address.hostname or "", address.port or 80), timeout=20) as connection:
            connection.sendall(head + begun)
            answer = b""
            while part := connection.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()


def test_feedback_says_that_the_log_does_not_respond(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    log = str(tmp_path / "file" / "predictions.db")
    with serve(POLARITY_PREDICTION_LOG=log, POLARITY_LOG_DURABLE="false") as server:
        prediction = httpx.post(server.url + "/predict", json={"text": "hi"}, trust_env=False)
        assert prediction.status_code == 200
        opinion = {"prediction_id": prediction.json()["prediction_id"], "label": "positive"}
        refused = httpx.post(server.url + "/feedback", json=opinion, headers={"accept-language": "en"}, trust_env=False)
        assert refused.status_code == 503 and refused.headers["retry-after"]
        assert refused.json() == {"detail": "The label could not be stored: the prediction log does not respond."}
        assert "The label could not be stored: " in server.log


ORIGIN = {"origin": "https://app.example"}
PREFLIGHT = {**ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}


@pytest.fixture(scope="module", params=["setting", "bentoml"])
def shared(request: pytest.FixtureRequest, serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a key and with CORS, enabled by our setting or in BentoML's configuration file."""
    if request.param == "setting":
        origins = "https://other.example, https://app.example"
        with serve(POLARITY_CORS_ORIGINS=origins, POLARITY_API_KEY="key") as server:
            yield server.url
        return
    configuration = tmp_path_factory.mktemp("cors") / "bentoml.yaml"
    configuration.write_text(
        """\
services:
  sentiment:
    http:
      cors:
        enabled: true
        access_control_allow_origins: ["https://app.example"]
        access_control_allow_methods: ["GET", "POST"]
        access_control_allow_headers: ["X-API-Key"]
        access_control_expose_headers: Retry-After
        access_control_max_age: 60
"""
    )
    with serve(BENTOML_CONFIG=str(configuration), POLARITY_API_KEY="key") as server:
        yield server.url


@pytest.mark.parametrize(
    "path", ["/", "/predict", "/predict/", "/predict/batch", "/explain", "/feedback", "/model", "/docs",
             "/openapi.json", "/healthz", "/readyz", "/metrics", "/nowhere"],
)  # fmt: skip
def test_preflight_is_answered_on_every_route(shared: str, path: str) -> None:
    allowed = httpx.options(shared + path, headers=PREFLIGHT, trust_env=False)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert {"GET", "POST"} <= {*allowed.headers["access-control-allow-methods"].split(", ")} <= {"GET", "HEAD", "POST"}
    assert "x-api-key" in allowed.headers["access-control-allow-headers"].lower()
    assert allowed.headers["access-control-max-age"] in ("60", "86400")
    other = httpx.options(shared + path, headers={**PREFLIGHT, "origin": "https://evil.example"}, trust_env=False)
    assert other.status_code == 400 and "access-control-allow-origin" not in other.headers


def test_every_response_to_an_allowed_origin_says_so(shared: str) -> None:
    key = {"x-api-key": "key"}
    for method, path, headers, body, status in (
        ("POST", "/predict", key, b'{"text": "hi"}', 200),
        ("POST", "/predict", {}, b'{"text": "hi"}', 401),
        ("POST", "/predict", key, b'{"text": ""}', 400),
        ("POST", "/predict", key, b"x", 422),
        ("POST", "/predict", key, b" " * 2_000_000, 413),
        ("POST", "/predict", {**key, "content-encoding": "br"}, b"x", 415),
        ("POST", "/feedback", key, b'{"prediction_id": "?", "label": "positive"}', 404),
        ("GET", "/model", key, b"", 200),
        ("GET", "/readyz", {}, b"", 200),
        ("GET", "/metrics", key, b"", 200),
        ("GET", "/predict", key, b"", 405),
    ):
        response = httpx.request(method, shared + path, headers={**headers, **ORIGIN}, content=body, trust_env=False)
        assert response.status_code == status
        assert response.headers.get_list("access-control-allow-origin") == ["https://app.example"]
        assert "Retry-After" in response.headers["access-control-expose-headers"]
        assert response.headers["vary"].split(", ").count("Origin") == 1
    unasked = httpx.get(shared + "/readyz", headers={"origin": "https://evil.example"}, trust_env=False)
    assert "access-control-allow-origin" not in unasked.headers


def test_without_configuration_there_is_no_cors(pair: str) -> None:
    assert httpx.options(pair + "/predict", headers=PREFLIGHT, trust_env=False).status_code == 405
    response = httpx.post(pair + "/predict", json={"text": "hi"}, headers=ORIGIN, trust_env=False)
    assert response.status_code == 200 and "access-control-allow-origin" not in response.headers


def counted(url: str) -> float:
    time.sleep(0.3)  # each worker reports its counts every 0.1 s
    metrics = get(url, "/metrics").text
    found = re.search(r'^polarity_requests_total\{route="/predict",status="200"\} (\S+)', metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_metrics_are_aggregated_over_workers(pair: str) -> None:
    before = counted(pair)
    for _ in range(60):
        # a new connection each time, so that both workers get requests
        assert httpx.post(pair + "/predict", json={"text": "hello"}, trust_env=False).status_code == 200
    assert all(counted(pair) == before + 60 for _ in range(5)), "regardless of the worker"
    batches = re.search(r"^polarity_batch_texts_sum (\S+)", get(pair, "/metrics").text, re.MULTILINE)
    assert batches and float(batches[1]) >= before + 60


def test_feedback_works_across_workers(pair: str) -> None:
    for n in range(12):
        prediction = httpx.post(pair + "/predict", json={"text": f"tweet {n}"}, trust_env=False).json()
        opinion = {"prediction_id": prediction["prediction_id"], "label": "negative"}
        assert httpx.post(pair + "/feedback", json=opinion, trust_env=False).status_code == 201


def test_shutdown_completes_and_logs_accepted_requests(serve: Any, tmp_path: Path) -> None:
    with serve(POLARITY_PREDICTION_LOG=str(tmp_path / "log.db")) as server:
        texts = [f"tweet {n}" for n in range(1000)]
        httpx.post(server.url + "/predict/batch", json={"texts": texts}, trust_env=False).raise_for_status()
        server.process.terminate()
        server.process.wait(20)
        assert server.process.returncode == 0
    with sqlite3.connect(tmp_path / "log.db") as connection:
        assert connection.execute("SELECT count(*) FROM predictions").fetchone() == (1000,)


def test_server_behind_a_named_proxy(serve: Any) -> None:
    """A prefix that stays in the requests, headers of nobody but the proxy, and an end in spite of an open stream."""
    named = {"FORWARDED_ALLOW_IPS": "10.0.0.0/8", "POLARITY_PREFIX": "/sentiment/", "POLARITY_GRACE_S": "0.5"}
    with serve(POLARITY_PREDICTION_LOG="off", **named) as server:
        document = get(server.url, "/sentiment/openapi.json", **{"x-forwarded-prefix": "/elsewhere"}).json()
        assert document["servers"] == [{"url": "/sentiment"}]
        for path in ("/sentiment", "/sentiment/", "/sentiment/metrics", "/sentiment/readyz", "/readyz"):
            assert get(server.url, path).status_code == 200, path
        for path in ("/sentiment/predict", "/predict"):
            answer = httpx.post(server.url + path, json={"text": "a day"}, trust_env=False)
            assert answer.status_code == 200, path
        assert get(server.url, "/sentimental").status_code == 404

        def lines() -> Iterator[bytes]:
            yield b'{"text": "a day"}\n'
            server.process.terminate()
            while server.process.poll() is None:
                yield b'{"text": "a day"}\n'
                time.sleep(0.1)

        with pytest.raises(httpx.TransportError):
            httpx.post(server.url + "/predict/stream", content=lines(), trust_env=False)
        assert server.process.wait(20) == 0


def test_invalid_option_prevents_startup(serve: Any) -> None:
    with pytest.raises(ArtifactError, match="POLARITY_WORKERS='none'"), serve(POLARITY_WORKERS="none"):
        raise AssertionError("unreachable")
