"""The HTTP contract, tested against a running server."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import os
import socket
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

MIB = 1024 * 1024
MARK = "zzMARKzz"
EMPTY = "Le texte ne peut pas être vide."
NUMBER = "Le texte ne peut pas être un nombre."


def test_single_text_is_predicted(client: httpx.Client) -> None:
    for path in ("/predict", "/predict/"):
        response = client.post(path, json={"text": "what a lovely day"})
        assert response.status_code == 200
        check(response.json())


def check(prediction: dict[str, Any]) -> None:
    assert set(prediction) == {"prediction_id", "sentiment", "score", "probabilities", "model"}
    shares = prediction["probabilities"]
    assert set(prediction["model"]) == {"family", "version", "bento"} and all(prediction["model"].values())
    assert isinstance(prediction["prediction_id"], str) and prediction["prediction_id"]
    assert abs(sum(shares.values()) - 1) < 1e-4 and all(0 <= p <= 1 for p in shares.values())
    assert prediction["score"] == shares[prediction["sentiment"]] == max(shares.values())


def test_index_describes_what_is_served(client: httpx.Client) -> None:
    index = client.get("/").json()
    card = client.get("/model").json()
    prediction = client.post("/predict", json={"text": "hello there"}).json()
    assert {name: index["model"][name] for name in ("family", "version", "bento")} == prediction["model"]
    assert index["data_digest"] == card["data_digest"] and index["labels"] == list(prediction["probabilities"])
    assert card["bento"] == index["model"]["bento"] and isinstance(card["card"], dict)
    for link in index["links"].values():
        if link not in ("/predict", "/predict/batch", "/predict/stream", "/explain", "/feedback"):
            assert client.get(link).status_code == 200, link


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json"])
def test_bentoml_routes_and_docs_respond(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_docs_load_no_external_resources(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert "http://" not in page and "https://" not in page
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert f"static_content/{name}" in page
        assert client.get(f"/static_content/{name}").status_code == 200
    described = client.get("/openapi.json").json()["paths"]
    assert {"/", "/model", "/predict", "/predict/batch", "/explain", "/feedback"} <= set(described)
    feedback = described["/feedback"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert feedback["properties"]["label"]["enum"] == client.get("/").json()["labels"]


REFUSALS: dict[str, tuple[Any, int, list[str] | str]] = {
    "empty": ({"text": ""}, 400, EMPTY),
    "blank": ({"text": " \t\n\u00a0\u3000"}, 400, EMPTY),
    "nothing visible": ({"text": "\u200b\u200f\ufeff"}, 400, EMPTY),
    "NUL alone": ({"text": "\x00"}, 400, EMPTY),
    "a digit": ({"text": "7"}, 400, NUMBER),
    "a number": ({"text": " -1 234,56 "}, 400, NUMBER),
    "Arabic digits": ({"text": "١٢٣"}, 400, NUMBER),
    "Devanagari digits": ({"text": "१२३"}, 400, NUMBER),
    "full-width digits": ({"text": "＋１２３"}, 400, NUMBER),
    "too long": ({"text": MARK * 251}, 422, ["body", "text"]),
    "missing": ({}, 422, ["body", "text"]),
    "null": ({"text": None}, 422, ["body", "text"]),
    "an integer": ({"text": 3}, 422, ["body", "text"]),
    "a list": ({"text": [MARK]}, 422, ["body", "text"]),
    "an object": ({"text": {"text": MARK}}, 422, ["body", "text"]),
    "an unknown field": ({"text": "fine", "lang": MARK}, 422, ["body", "lang"]),
    "not an object": ([MARK], 422, ["body"]),
    "a string": (MARK, 422, ["body"]),
    "no JSON": (b"text=" + MARK.encode(), 422, ["body"]),
    "nothing": (b"", 422, ["body"]),
    "half of JSON": (b'{"text": "' + MARK.encode(), 422, ["body"]),
    "more than JSON": (b'{"text": "a"} ' + MARK.encode(), 422, ["body"]),
    "single quotes": (b"{'text': 'a'}", 422, ["body"]),
    "NaN": (b'{"text": NaN}', 422, ["body"]),
    "deep JSON": (b'{"text": ' + b"[" * 200_000, 422, ["body"]),
    "deep and closed": (b'{"text": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 422, ["body"]),
    "UTF-16": ('{"text": "hello"}'.encode("utf-16"), 422, ["body"]),
    "an endless number": (b'{"text": ' + b"9" * 100_000 + b"}", 422, ["body"]),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_match_the_contract(client: httpx.Client, name: str) -> None:
    body, status, expected = REFUSALS[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    for path in ("/predict", "/predict/", "/explain"):
        response = client.post(path, content=content, headers={"content-type": "application/json"})
        assert response.status_code == status
        assert response.headers["content-type"] == "application/json"
        detail = response.json()["detail"]
        if isinstance(expected, str):
            assert detail == expected
        else:
            assert detail[0]["loc"] == expected
            assert set(detail[0]) == {"type", "loc", "msg"}
        assert MARK not in response.text, "the offending input is not echoed"


def test_invalid_utf8_is_refused(client: httpx.Client) -> None:
    for bad in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"):
        response = client.post("/predict", content=b'{"text": "caf' + bad + b'"}')
        assert response.status_code in (400, 422)
        assert response.json()["detail"]


@pytest.mark.parametrize(
    "text",
    [
        "I ❤️ it",
        "😀" * 2000,
        "x" * 2000,
        "\x00 bad \x00",
        "الخدمة سيئة جدا",
        "\u202eevil\u202c",
        "z\u200da\u200bl\u0338g\u0336o\u0334",
        "&lt;b&gt; caf\u00c3\u00a9",
        "'; DROP TABLE predictions; --",
        "{{7*7}}",
        "...",
        "#1",
    ],
    ids=lambda text: ascii(text)[:24],
)
def test_unusual_texts_are_predicted(client: httpx.Client, text: str) -> None:
    response = client.post("/predict", json={"text": text})
    assert response.status_code == 200
    check(response.json())


def test_lone_surrogate_is_predicted(client: httpx.Client) -> None:
    for body in (b'{"text": "good \\ud83d"}', b'{"text": "\\ude00\\ud83d so good"}'):
        response = client.post("/predict", content=body)
        assert response.status_code == 200
        check(response.json())
    response = client.post("/predict/batch", content=b'{"texts": ["fine", "half \\ud83d", "\\ud83d\\ude00"]}')
    assert response.status_code == 200
    for prediction in response.json()["predictions"]:
        check(prediction)


@pytest.mark.parametrize(
    ("language", "words"),
    [(None, EMPTY), ("en", "The text must not be empty."), ("en-US,en;q=0.9,fr;q=0.2", "The text must not be empty."),
     ("fr-CA, en;q=0.5", EMPTY), ("de", EMPTY)],
)  # fmt: skip
def test_refusals_are_in_french_or_english(client: httpx.Client, language: str | None, words: str) -> None:
    headers = {"accept-language": language} if language else {}
    assert client.post("/predict", json={"text": ""}, headers=headers).json() == {"detail": words}
    batch = client.post("/predict/batch", json={"texts": [""]}, headers=headers).json()
    assert batch == {"predictions": [{"error": words}]}


def test_batch_keeps_order_and_reports_errors_per_item(client: httpx.Client) -> None:
    texts: list[Any] = ["so good", "", "so bad", "12", 7, None, ["x"], "y" * 2001, "so good", " "]
    response = client.post("/predict/batch", json={"texts": texts}, headers={"accept-language": "en"})
    assert response.status_code == 200
    predictions = response.json()["predictions"]
    answered = [n for n, item in enumerate(predictions) if "error" not in item]
    assert answered == [0, 2, 8]
    for n in answered:
        check(predictions[n])
    assert predictions[0]["probabilities"] == predictions[8]["probabilities"] != predictions[2]["probabilities"]
    alone = client.post("/predict", json={"text": "so good"}).json()
    assert alone["probabilities"] == pytest.approx(predictions[0]["probabilities"], abs=1e-3)
    empty, number, string = (
        "The text must not be empty.",
        "The text must not be a number.",
        "The text must be a string.",
    )
    assert [predictions[n]["error"] for n in (1, 3, 4, 5, 6, 9)] == [empty, number, string, string, string, empty]
    assert "2000" in predictions[7]["error"]
    assert all(set(item) == {"error"} for n, item in enumerate(predictions) if n not in answered)


def test_batch_limit_is_one_thousand_texts(client: httpx.Client) -> None:
    thousand = client.post("/predict/batch", json={"texts": [f"tweet number {n}" for n in range(1000)]})
    assert thousand.status_code == 200
    assert len({item["prediction_id"] for item in thousand.json()["predictions"]}) == 1000
    assert client.post("/predict/batch", json={"texts": ["", "1"]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"texts": []}, ["body", "texts"]),
        ({"texts": ["x"] * 1001}, ["body", "texts"]),
        ({"texts": "not a list"}, ["body", "texts"]),
        ({"text": "x"}, ["body", "texts"]),
        ({"texts": ["x"], "more": 1}, ["body", "more"]),
        (["x"], ["body"]),
    ],
)
def test_invalid_batch_is_refused(client: httpx.Client, body: Any, loc: list[str]) -> None:
    for path in ("/predict/batch", "/predict/batch/"):
        response = client.post(path, json=body)
        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == loc


def test_oversized_body_is_refused(client: httpx.Client) -> None:
    def chunks(size: int) -> Iterator[bytes]:
        yield b'{"text": "'
        for _ in range(size // 65536):
            yield b"x" * 65536

    for body in (b" " * (MIB + 1), b"x" * (10 * MIB)):
        response = client.post("/predict", content=body)
        assert response.status_code == 413 and response.json()["detail"]
    assert client.post("/feedback", content=b"x" * (MIB + 1)).status_code == 413
    assert client.post("/predict", content=chunks(3 * MIB)).status_code == 413
    assert client.post("/predict/batch", content=b"x" * (4 * MIB + 1)).status_code == 413
    padded = json.dumps({"text": "just fits"}).encode()
    assert client.post("/predict", content=padded + b" " * (MIB - len(padded))).status_code == 200
    many = json.dumps({"texts": ["é" * 1500] * 400}, ensure_ascii=False).encode()
    assert len(many) > MIB
    assert client.post("/predict/batch", content=many).status_code == 200


def test_oversized_content_length_is_refused_before_the_body(base_url: str) -> None:
    status = raw(
        base_url, b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\nExpect: 100-continue\r\n\r\n"
    )
    assert status == 413


def raw(base_url: str, request: bytes) -> int:
    address = urlsplit(base_url)
    with socket.create_connection((address.hostname or "", address.port or 80), timeout=20) as connection:
        connection.sendall(request)
        head = connection.makefile("rb").readline()
    return int(head.split()[1])


def test_invalid_http_is_refused(base_url: str) -> None:
    assert raw(base_url, b"\x16\x03\x01 not http\r\n\r\n") == 400
    assert raw(base_url, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == 200


def test_unknown_routes_and_methods_get_contract_errors(client: httpx.Client) -> None:
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("POST", "/nowhere", 404),
        ("GET", "/predict", 405),
        ("DELETE", "/predict", 405),
        ("POST", "/model", 405),
    ):
        response = client.request(method, path)
        assert response.status_code == status
        assert isinstance(response.json()["detail"], str)


def pipelined(base_url: str, request: bytes) -> list[tuple[int, bytes]]:
    """Send requests of which the last one closes the connection, and return statuses and bodies."""
    address = urlsplit(base_url)
    with socket.create_connection((address.hostname or "", address.port or 80), timeout=20) as connection:
        connection.sendall(request)
        stream, answers = connection.makefile("rb"), []
        while line := stream.readline():
            length = 0
            while (header := stream.readline()) != b"\r\n":
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            answers.append((int(line.split()[1]), stream.read(length)))
    return answers


def test_offer_to_upgrade_to_http_2_is_ignored(base_url: str) -> None:
    body = b'{"text": "what a lovely day"}'
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    java = (
        b"POST /predict HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: x\r\n"
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n" + length + body
    )
    last = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + length + body
    answers = pipelined(base_url, java + java.replace(b"/predict", b"/explain") + last)
    assert [status for status, _ in answers] == [200, 200, 200]
    check(json.loads(answers[0][1]))
    check(json.loads(answers[2][1]))


def test_compressed_bodies_are_read(client: httpx.Client) -> None:
    text, label = {"text": "what a lovely day"}, client.get("/").json()["labels"][0]
    bodies = {
        "/predict": (text, 200),
        "/predict/": (text, 200),
        "/explain": (text, 200),
        "/predict/batch": ({"texts": ["so good"]}, 200),
        "/feedback": ({"prediction_id": "unknown", "label": label}, 404),
    }
    for path, (body, status) in bodies.items():
        content = json.dumps(body).encode()
        for encoding, compressed in (("gzip", gzip.compress(content)), ("deflate", zlib.compress(content))):
            response = client.post(path, content=compressed, headers={"content-encoding": encoding})
            assert response.status_code == status, path


def test_compressed_bodies_have_the_same_limits(client: httpx.Client) -> None:
    def post(path: str, body: bytes, encoding: str = "gzip") -> httpx.Response:
        return client.post(path, content=body, headers={"content-encoding": encoding, "accept-language": "en"})

    fits = json.dumps({"text": "just fits"}).encode().ljust(MIB)
    assert post("/predict", gzip.compress(fits)).status_code == 200
    assert post("/predict", gzip.compress(fits + b" ")).status_code == 413
    assert post("/predict/batch", gzip.compress(b" " * (4 * MIB + 1))).status_code == 413
    bomb = gzip.compress(bytes(300 * MIB))
    assert len(bomb) < MIB
    assert post("/predict", bomb).json() == {"detail": "The body is too large."}
    unknown = post("/predict", b"x", "br")
    assert unknown.status_code == 415 and unknown.headers["accept-encoding"] == "gzip, deflate"
    assert unknown.json() == {"detail": "This Content-Encoding is not supported: use gzip, deflate, or none."}
    for damaged in (gzip.compress(fits)[:-4], b'{"text": "not compressed"}'):
        refused = post("/predict", damaged)
        assert refused.status_code == 422
        assert refused.json()["detail"] == [
            {"type": "encoding_damaged", "loc": ["body"], "msg": "The compressed body is damaged or incomplete."}
        ]


GETS = ("/", "/model", "/docs", "/openapi.json", "/healthz", "/livez", "/readyz", "/metrics", "/schema.json",
        "/docs.json", "/static_content/swagger-ui.css")  # fmt: skip


@pytest.mark.parametrize("path", [*GETS, "/model/", "/nowhere", "/predict"])
def test_head_is_answered_like_get_without_a_body(client: httpx.Client, path: str) -> None:
    head, got = client.head(path), client.get(path)
    assert head.status_code == got.status_code
    assert head.content == b"" and got.content
    if path != "/metrics":  # which counts
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content))
    changing = {"date", "content-length", "x-bentoml-request-id"}
    assert {name: value for name, value in head.headers.items() if name not in changing} == {
        name: value for name, value in got.headers.items() if name not in changing
    }


@pytest.mark.parametrize("path", GETS[1:])
def test_slash_at_the_end_makes_no_difference_to_get(client: httpx.Client, path: str) -> None:
    assert client.get(f"{path}/").status_code == 200


def test_slash_at_the_end_makes_no_difference_to_post(client: httpx.Client) -> None:
    text = {"text": "what a lovely day"}
    prediction = client.post("/predict/", json=text)
    assert prediction.status_code == 200
    assert client.post("/explain/", json=text).json() == client.post("/explain", json=text).json()
    assert client.post("/predict/batch/", json={"texts": ["so good"]}).status_code == 200
    opinion = {"prediction_id": prediction.json()["prediction_id"], "label": prediction.json()["sentiment"]}
    assert client.post("/feedback/", json=opinion).status_code == 201
    assert client.get("/predict/").status_code == client.get("/predict").status_code == 405
    assert client.post("/predict//", json=text).status_code == 404
    many = json.dumps({"texts": ["é" * 1500] * 400}, ensure_ascii=False).encode()
    assert client.post("/predict/batch/", content=many).status_code == 200, "with the limits of the route"


def test_docs_with_a_slash_find_their_files(client: httpx.Client) -> None:
    page = client.get("/docs/")
    for link in ("openapi.json", "static_content/swagger-ui-bundle.js", "static_content/swagger-ui.css"):
        assert f"../{link}" in page.text
        assert client.get(str(page.url.join(f"../{link}"))).status_code == 200


@pytest.mark.parametrize("prefix", ["/sentiment", "/apis/v1.2/tweets/", "/model"])
def test_links_have_the_prefix_of_a_proxy(client: httpx.Client, prefix: str) -> None:
    plain = client.get("/openapi.json").json()
    assert "servers" not in plain
    behind = client.get("/openapi.json", headers={"x-forwarded-prefix": prefix}).json()
    assert behind == {**plain, "servers": [{"url": prefix.rstrip("/")}]}
    index = client.get("/", headers={"x-forwarded-prefix": prefix}).json()
    assert index["links"]["predict"] == f"{prefix.rstrip('/')}/predict"
    assert client.get("/model", headers={"x-forwarded-prefix": prefix}).status_code == 200
    assert client.get("/openapi.json").json() == plain, "and nobody else gets it"


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "https://evil.example", "/", "relative", "/a/../b c", "/<x>", "/a//b"]
)
def test_prefix_that_is_not_a_plain_path_is_ignored(client: httpx.Client, prefix: str) -> None:
    assert "servers" not in client.get("/openapi.json", headers={"x-forwarded-prefix": prefix}).json()


def test_responses_forbid_caching_and_mime_sniffing(client: httpx.Client) -> None:
    for response in (client.post("/predict", json={"text": "x"}), client.get("/"), client.get("/nowhere")):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert "server" not in response.headers


def test_explanation_shares_add_up_to_the_score(client: httpx.Client) -> None:
    text = "so good &amp; not bad at all 😀 @ann"
    prediction = client.post("/predict", json={"text": text}).json()
    explained = client.post("/explain", json={"text": text}).json()
    assert {name: explained[name] for name in ("sentiment", "model")} == {
        name: prediction[name] for name in ("sentiment", "model")
    }
    assert explained["probabilities"] == pytest.approx(prediction["probabilities"], abs=1e-3)
    assert [item["word"] for item in explained["words"]] == ["so", "good", "&", "not", "bad", "at", "all", "😀", "@ann"]
    assert any(item["share"] for item in explained["words"])
    if explained["method"] == "exact":
        shares = explained["probabilities"]
        others = [math.log(p) for label, p in shares.items() if label != explained["sentiment"]]
        lead = math.log(shares[explained["sentiment"]]) - sum(others) / len(others)
        assert explained["base"] + sum(item["share"] for item in explained["words"]) == pytest.approx(lead, abs=1e-3)


def test_feedback_is_recorded_once(client: httpx.Client) -> None:
    prediction = client.post("/predict", json={"text": "lovely"}).json()
    label, other = list(prediction["probabilities"])[:2]
    opinion = {"prediction_id": prediction["prediction_id"], "label": label}
    assert client.post("/feedback", json=opinion).status_code == 201
    assert client.post("/feedback", json=opinion).status_code == 200
    conflict = client.post("/feedback", json={**opinion, "label": other})
    assert conflict.status_code == 409 and isinstance(conflict.json()["detail"], str)


def test_feedback_works_for_batch_predictions(client: httpx.Client) -> None:
    first, second = client.post("/predict/batch", json={"texts": ["a day", "a night"]}).json()["predictions"]
    for item in (second, first):
        opinion = {"prediction_id": item["prediction_id"], "label": item["sentiment"]}
        assert client.post("/feedback", json=opinion).status_code == 201


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"prediction_id": "unknown"}, 404),
        ({"prediction_id": "\u0000' OR 1=1"}, 404),
        ({"prediction_id": "x" * 100_000}, 404),
        ({"prediction_id": 5}, 422),
        ({"label": "no such label"}, 422),
        ({"label": None}, 422),
        ({"more": MARK}, 422),
    ],
    ids=lambda value: str(value)[:30],
)
def test_invalid_feedback_is_refused(client: httpx.Client, change: dict[str, Any], status: int) -> None:
    label = client.get("/").json()["labels"][0]
    response = client.post("/feedback", json={"prediction_id": "unknown", "label": label} | change)
    assert response.status_code == status
    assert response.json()["detail"] and MARK not in response.text


def test_refusals_do_not_affect_other_requests(base_url: str) -> None:
    """Among concurrent bad requests, every good request gets its own correct response."""
    good = ["so good", "so bad", "what a day", "never again"]
    bad = [body if isinstance(body, bytes) else json.dumps(body).encode() for body, _, _ in REFUSALS.values()]

    async def all_at_once() -> None:
        limits = httpx.Limits(max_connections=32)
        async with httpx.AsyncClient(base_url=base_url, timeout=60.0, limits=limits, trust_env=False) as client:

            async def ask(text: str) -> tuple[str, Any]:
                response = await client.post("/predict", json={"text": text})
                assert response.status_code == 200
                return text, response.json()["probabilities"]

            async def provoke(body: bytes) -> int:
                return (await client.post("/predict", content=body)).status_code

            alone = dict([await ask(text) for text in good])
            answers, statuses = await asyncio.gather(
                asyncio.gather(*(ask(text) for text in good * 40)),
                asyncio.gather(*(provoke(body) for body in bad * 2)),
            )
            for text, shares in answers:
                assert shares == pytest.approx(alone[text], abs=1e-3)
            assert set(statuses) == {400, 422}

    asyncio.run(all_at_once())


def test_metrics_record_requests(client: httpx.Client) -> None:
    client.get("/schema.json")  # one of BentoML's own routes
    client.post("/predict", json={"text": "a word"})
    client.post("/predict", json={"text": "5"})
    metrics = client.get("/metrics").text
    for sample in (
        'polarity_requests_total{route="/predict",status="200"}',
        'polarity_requests_total{route="/predict",status="400"}',
        'polarity_refusals_total{reason="number"}',
        "polarity_batch_texts_count",
        "polarity_queue_seconds_count",
        "polarity_model_seconds_count",
        'polarity_batches_total{reason="idle"}',
        "polarity_model_info",
        "bentoml_service_request_total",
    ):
        assert sample in metrics
    assert MARK not in metrics


@pytest.mark.skipif("BASE_URL" in os.environ, reason="the server under BASE_URL keeps its own log")
def test_texts_are_logged_only_if_enabled(serve: Any, tmp_path: Path) -> None:
    for asked, kept in (("false", None), ("true", MARK)):
        path = tmp_path / f"{asked}.db"
        with serve(POLARITY_PREDICTION_LOG=str(path), POLARITY_LOG_TEXTS=asked) as server:
            httpx.post(f"{server.url}/predict", json={"text": MARK}, trust_env=False).raise_for_status()
            log = server.log
        with sqlite3.connect(path) as connection:
            assert connection.execute("SELECT text, characters FROM predictions").fetchall() == [(kept, len(MARK))]
        assert MARK not in log
