"""The Open Inference Protocol, by Triton's own client and by plain requests, against a served Bento."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.skipif("BASE_URL" in os.environ, reason="needs a server of its own")

TEXTS = ["what a lovely day", "so sad 😢", "été"]


@pytest.fixture(scope="module")
def url(serve: Any) -> Iterator[str]:
    with serve(POLARITY_PREDICTION_LOG="off", POLARITY_API_KEY="a-key") as server:
        yield server.url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    headers = {"x-api-key": "a-key", "accept-language": "en"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def expected(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.post("/predict/batch", json={"texts": TEXTS}).json()["predictions"]
    return found


def request(*texts: Any, **changes: Any) -> dict[str, Any]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}
    return {"inputs": [{**tensor, **changes}]}


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("versioned", [True, False])
def test_tritons_client(
    url: str, client: httpx.Client, expected: list[dict[str, Any]], binary: bool, versioned: bool
) -> None:
    http = pytest.importorskip("tritonclient.http")
    headers = {"x-api-key": "a-key"}
    with http.InferenceServerClient(urlsplit(url).netloc) as triton:
        assert triton.is_server_live()
        assert triton.is_server_ready()
        assert triton.is_model_ready("sentiment")
        metadata = triton.get_model_metadata("sentiment", headers=headers)
        version = metadata["versions"][0]
        assert triton.get_server_metadata(headers=headers)["name"] == "polarity"
        tensor = http.InferInput("text", [len(TEXTS)], "BYTES")
        tensor.set_data_from_numpy(np.array([text.encode() for text in TEXTS], dtype=np.object_), binary_data=binary)
        result = triton.infer(
            "sentiment", [tensor], model_version=version if versioned else "", headers=headers, request_id="7"
        )
    assert result.get_response()["id"] == "7"
    assert [str(one) for one in result.as_numpy("sentiment")] == [one["sentiment"] for one in expected]
    labels = metadata["outputs"][2]["parameters"]["labels"].split(",")
    np.testing.assert_allclose(
        result.as_numpy("probabilities"), [[one["probabilities"][label] for label in labels] for one in expected]
    )
    np.testing.assert_allclose(result.as_numpy("score"), [one["score"] for one in expected])


@pytest.mark.parametrize("nested", [False, True])
def test_plain_requests(client: httpx.Client, expected: list[dict[str, Any]], nested: bool) -> None:
    body = request(*([text] for text in TEXTS), shape=[3, 1]) if nested else request(*TEXTS)
    answer = client.post("/v2/models/sentiment/infer", json={**body, "outputs": [{"name": "sentiment"}]})
    assert answer.status_code == 200
    (output,) = answer.json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [3])
    assert output["data"] == [one["sentiment"] for one in expected]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (request("fine", " "), "text[1]: The text must not be empty."),
        (request("fine", 5), "The data must be a list of strings."),
        (request("fine", shape=[2]), "The shape is [2], but there are 1 texts"),
        (request(), "Got no texts"),
        (request(*["x"] * 1001), "Got more than 1,000 texts"),
        (request(*[[]] * 100_000, shape=[1]), "Got too many values"),
        (request("x", name="texts"), "The model has one input, text"),
        (request("x", datatype="FP32"), "The model has one input, text"),
        ({"inputs": []}, "The model has one input, text"),
        ({"texts": ["x"]}, "is not a request of the Open Inference Protocol"),
        ({**request("x"), "outputs": [{"name": "mood"}]}, "There is no output 'mood'"),
        (request("x", parameters={"binary_data_size": 9}), "binary_data_size is 9, but 0 bytes follow"),
    ],
)
def test_what_is_wrong_is_named(client: httpx.Client, body: dict[str, Any], said: str) -> None:
    refused = client.post("/v2/models/sentiment/infer", json=body)
    assert refused.status_code == 400
    assert said in refused.json()["error"]


@pytest.mark.parametrize("tail", [b"\x05\x00\x00\x00abc", b"\x01\x00", b"\x02\x00\x00\x00\xff\xfe"])
def test_damaged_binary_data_is_refused(client: httpx.Client, tail: bytes) -> None:
    head = b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": %d}}]}'
    head %= len(tail)
    for length in (len(head), len(head) + 100):
        headers = {"inference-header-content-length": str(length)}
        refused = client.post("/v2/models/sentiment/infer", content=head + tail, headers=headers)
        assert refused.status_code == 400
        assert "error" in refused.json()


def test_empty_strings_are_not_counted_to_the_end(client: httpx.Client) -> None:
    head = b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": %d}}]}'
    head %= 4_000_000
    headers = {"inference-header-content-length": str(len(head))}
    refused = client.post("/v2/models/sentiment/infer", content=head + bytes(4_000_000), headers=headers)
    assert (refused.status_code, refused.json()["error"].split(";")[0]) == (400, "Got more than 1,000 texts")


def test_another_model_or_version_is_unknown_and_health_needs_no_key(url: str, client: httpx.Client) -> None:
    for path in ("/v2/models/other", "/v2/models/sentiment/versions/none", "/v2/models/sentiment/versions/none/ready"):
        assert client.get(path).status_code == 404
    assert client.post("/v2/models/other/infer", json=request("x")).status_code == 404
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/sentiment/ready"):
        assert httpx.get(url + path, trust_env=False).status_code == 200
    assert httpx.post(f"{url}/v2/models/sentiment/infer", json=request("x"), trust_env=False).status_code == 401
