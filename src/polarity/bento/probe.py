"""Serve a Bento temporarily and check its responses against the HTTP contract."""

from __future__ import annotations

import secrets
import statistics
import time
from dataclasses import dataclass
from typing import Any

import httpx

from polarity.bento.server import served, tail
from polarity.bento.store import bento_folder, model_folder
from polarity.errors import ArtifactError
from polarity.inference.package import ModelManifest

_TEXTS = ("what a lovely day", "this is the worst service ever :(", "not bad at all", "😀 see you @home #monday")


@dataclass(frozen=True)
class ProbeReport:
    """The measurements of a probe.

    Attributes
    ----------
    ready_s : float
        Time from the start of `bentoml serve` until it was ready.
    latency_ms : float
        Median latency of sequential single requests.
    requests : int
        Number of requests sent; all responses met the contract.
    """

    tag: str
    ready_s: float
    latency_ms: float
    requests: int


def probe(tag: str, *, timeout_s: float = 120.0) -> ProbeReport:
    """Serve a Bento and send it real requests, including invalid ones.

    Raises
    ------
    ArtifactError
        If it cannot be served, or a response violates the contract.
    ServiceUnavailable
        If it is not ready in time.
    """
    manifest = ModelManifest.read(model_folder(tag))
    key = secrets.token_urlsafe()
    with (
        served(bento_folder(tag), timeout_s=timeout_s, environment={"POLARITY_API_KEY": key}) as server,
        httpx.Client(base_url=server.url, headers={"x-api-key": key}, timeout=30.0, trust_env=False) as client,
    ):
        try:
            latencies_s, requests = _send_requests(client, tag, manifest)
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            log = tail(server.log)
            raise ArtifactError(f"{tag} violates the HTTP contract: {error!r}. The end of its log:\n{log}") from error
        return ProbeReport(tag, server.ready_s, 1000 * statistics.median(latencies_s), requests)


def _send_requests(client: httpx.Client, tag: str, manifest: ModelManifest) -> tuple[list[float], int]:
    requests = 0

    def expect(status: int, method: str, path: str, **body: Any) -> Any:
        nonlocal requests
        requests += 1
        response = client.request(method, path, **body)
        if response.status_code != status:
            raise ValueError(f"{method} {path} returned {response.status_code}, not {status}: {response.text[:500]}")
        return response.json() if "json" in response.headers.get("content-type", "") else response.text

    def check(prediction: Any) -> None:
        probabilities = prediction["probabilities"]
        if list(probabilities) != list(manifest.labels) or abs(sum(probabilities.values()) - 1) > 1e-4:
            raise ValueError(f"Got {prediction}; expected one probability per label {manifest.labels}, summing to 1.")
        most_probable = probabilities[prediction["sentiment"]] == max(probabilities.values())
        if not most_probable or prediction["model"]["bento"] != tag:
            raise ValueError(f"Got {prediction}; expected the most probable label, and {tag} as the Bento.")

    for path in ("/healthz", "/livez", "/readyz", "/metrics", "/", "/model", "/openapi.json"):
        expect(200, "GET", path)
    latencies_s = []
    for text in _TEXTS * 5:
        started = time.perf_counter()
        prediction = expect(200, "POST", "/predict", json={"text": text})
        latencies_s.append(time.perf_counter() - started)
        check(prediction)
    batch = expect(200, "POST", "/predict/batch", json={"texts": [*_TEXTS, "", 7]})["predictions"]
    for prediction in batch[: len(_TEXTS)]:
        check(prediction)
    if [list(item) for item in batch[len(_TEXTS) :]] != [["error"], ["error"]]:
        raise ValueError(f"Got {batch[len(_TEXTS) :]}; expected an error in place of each of the last two texts.")
    for status, body in ((400, {"text": " "}), (400, {"text": "42"}), (422, {"text": 42}), (422, {"texts": "x"})):
        expect(status, "POST", "/predict", json=body)
    opinion = {"prediction_id": prediction["prediction_id"], "label": manifest.labels[0]}
    expect(201, "POST", "/feedback", json=opinion)
    expect(200, "POST", "/feedback", json=opinion)
    return latencies_s, requests
