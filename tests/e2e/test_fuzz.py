"""Generated input for connection, door, contract and package reader: nothing crashes, hangs or answers 500.

Each input is built from well-formed pieces or is a damaged copy of one in the small corpus below, which holds what has
once gone wrong. `make test` has a short form; in `make soak` each target is fuzzed for POLARITY_SOAK_S seconds.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import shutil
import socket
import time
import zlib
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bentos.api import api
from bentos.door import Door
from polarity.bento.server import BentoServer
from polarity.errors import PolarityError
from polarity.families.packaging import load_predictor
from polarity.inference.package import MANIFEST, ModelManifest
from tests.unit.serving.test_contract import Log, contract
from tests.unit.serving.test_door import IdleModel

pytestmark = pytest.mark.skipif("BASE_URL" in os.environ, reason="needs a server of its own")

SOAK_S = float(os.environ.get("POLARITY_SOAK_S", "3600"))
SHORT_EXAMPLES, SOAK_EXAMPLES = 60, 400
# Far above any of the server's own deadlines below.
IDLE_S, HANG_S = 2.0, 15.0
LIMITS = {
    "POLARITY_HEAD_TIMEOUT_S": "0.2",
    "POLARITY_BODY_TIMEOUT_S": "0.2",
    "POLARITY_SEND_TIMEOUT_S": "1",
}

BODIES = [
    b'{"text": "a good day"}',
    b'{"texts": ["good", "", 7, null, "bad"]}',
    b'{"prediction_id": "x", "label": "positive", "review": true}',
    b'{"text": "\\ud83d"}',
    b'{"text": 1e999, "NaN": NaN}',
    b'\xef\xbb\xbf{"text": "\xff\x00"}',
    b"[" * 5000,
    b'{"a":' * 5000,
    b'{"texts": [' + b"[]," * 12_000 + b"[]]}",
    b'{"text": ' + b"9" * 10_000 + b"}",
    gzip.compress(b'{"text": "a good day"}'),
    zlib.compress(b'{"text": "a good day"}'),
    b"",
]
REQUESTS = [
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n" + b'{"text": "good"}',
    b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'10\r\n{"text": "good"}\r\n0\r\nA: b\r\n\r\n',
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\nContent-Length: 2\r\n\r\n" + b'{"text": "good"}',
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b'CONNECT /docs HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n{\xa03d"}',
    b"GET /%00/..;/%ff?a=%zz#x HTTP/1.0\r\n\r\n",
    b"HEAD /docs/ HTTP/1.1\r\nHost: x\r\nX-Forwarded-Prefix: //evil\r\n\r\n",
]  # fmt: skip
PATHS = [
    "/", "/predict", "/predict/", "/predict/batch", "/explain", "/feedback", "/review", "/status", "/model", "/docs",
    "/openapi.json", "/healthz", "/readyz", "/livez", "/metrics", "/schema.json", "/static_content/../x", "//", "*",
    "/%2e%2e/predict", "/a?b=%00", "http://elsewhere/predict", "/caf\u00e9",
]  # fmt: skip
METHODS = ["POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"]
HEADERS = [
    ("content-length", "0"), ("content-length", "16"), ("content-length", "-1"), ("content-length", "99999999999999"),
    ("transfer-encoding", "chunked"), ("transfer-encoding", "gzip, chunked"), ("expect", "100-continue"),
    ("upgrade", "websocket"), ("connection", "upgrade"), ("connection", "close"), ("sec-websocket-version", "13"),
    ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="), ("content-encoding", "gzip"), ("content-encoding", "deflate"),
    ("content-encoding", "br, gzip,,identity"), ("accept-language", "en;q=x, \xff"), ("x-api-key", "\xfe"),
    ("authorization", "Bearer"), ("origin", "null"), ("access-control-request-method", "POST"),
    ("traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"), ("traceparent", "00-\xff"), ("x-request-id", "a b\x7f"),
    ("x-source", "\xc3\x28"), ("x-forwarded-prefix", "/v1"), ("x-forwarded-prefix", "//x"), ("range", "bytes=0-1"),
    ("host", ""), ("content-type", "multipart/form-data; boundary="), ("if-none-match", "*"), ("cookie", "a=b"),
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, corpus: st.SearchStrategy[bytes]) -> bytes:
    """A copy with a few bytes replaced, removed, repeated or put in."""
    content = bytearray(draw(corpus))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 12)))
        content[at:end] = draw(st.one_of(st.binary(max_size=8), st.just(bytes(content[at:end]) * 3)))
    return bytes(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
STRUCTURED = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(st.characters(codec=None), max_size=60) | JSON,
        "texts": st.lists(st.text(max_size=20) | JSON, max_size=6),
        "prediction_id": st.text(max_size=40) | JSON,
        "label": st.sampled_from(["positive", "negative", "neutral"]) | JSON,
        "review": st.booleans() | JSON,
    },
).map(lambda value: json.dumps(value).encode())
BODY = damaged(st.sampled_from(BODIES)) | STRUCTURED | JSON.map(lambda value: json.dumps(value).encode())
HEADER = st.sampled_from(HEADERS) | st.tuples(
    st.from_regex(r"[a-z-]{1,12}", fullmatch=True), st.text(st.characters(codec="latin-1"), max_size=20)
)


@st.composite
def request_bytes(draw: st.DrawFn) -> bytes:
    """A request on the wire; its head and body may contradict each other."""
    body = draw(BODY)
    lines = [f"{draw(st.sampled_from(METHODS[:1] * 6 + METHODS))} {draw(st.sampled_from(PATHS))} HTTP/1.1", "Host: x"]
    lines += [f"{name}: {value}" for name, value in draw(st.lists(HEADER, max_size=4))]
    if draw(st.integers(0, 4)):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def fuzz(check: Callable[[Any], None], values: st.SearchStrategy[Any], *, seconds: float = 0.0) -> None:
    """Check a few values, always the same; or ever new ones until the time is up."""
    unhurried = settings(
        max_examples=SOAK_EXAMPLES if seconds else SHORT_EXAMPLES,
        derandomize=not seconds,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    until = time.monotonic() + seconds
    rounds = 0
    while not rounds or time.monotonic() < until:

        def one(value: Any) -> None:
            check(value)

        unhurried(given(values)(one))()
        rounds += 1
    print(f"{rounds * unhurried.max_examples} examples")


short_and_soak = pytest.mark.parametrize(
    "seconds", [0.0, pytest.param(SOAK_S, marks=[pytest.mark.soak, pytest.mark.timeout(SOAK_S + 900)])]
)


@pytest.fixture(scope="module")
def server(serve: Any) -> Iterator[BentoServer]:
    with serve(**LIMITS) as server:
        yield server


@short_and_soak
def test_fuzzed_connection(server: BentoServer, seconds: float) -> None:
    address = urlsplit(server.url)
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    def check(value: tuple[list[bytes], list[int]]) -> None:
        requests, cuts = value
        content = b"".join(requests) + last
        places = sorted({0, len(content), *(cut % len(content) for cut in cuts)})
        answers = b""
        with (
            socket.create_connection((address.hostname or "", address.port or 80), timeout=HANG_S) as client,
            suppress(ConnectionError),
        ):
            for start, end in pairwise(places):
                client.sendall(content[start:end])
            # What waits for the client is closed by now. A connection that is idle, because the last request became
            # the trailer of another, for instance, takes one more.
            client.settimeout(IDLE_S)
            with suppress(TimeoutError):
                while part := client.recv(65536):
                    answers += part
            client.settimeout(HANG_S)
            client.sendall(last)
            while part := client.recv(65536):
                answers += part
        assert not re.search(rb"^HTTP/1\.1 500", answers, re.MULTILINE), answers[:2000]

    pieces = st.lists(damaged(st.sampled_from(REQUESTS)) | request_bytes() | damaged(request_bytes()), max_size=3)
    fuzz(check, st.tuples(pieces, st.lists(st.integers(0, 4000), max_size=3)), seconds=seconds)
    assert "Traceback" not in server.log and server.process.poll() is None
    body = {"text": "a good day"}
    assert httpx.post(f"{server.url}/predict", json=body, trust_env=False, timeout=HANG_S).status_code == 200


Message = MutableMapping[str, Any]


@short_and_soak
def test_fuzzed_door(seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    served = contract(IdleModel())
    api.state.contract = served
    doors = [Door(api, keys=keys, body_timeout_s=1) for keys in ((), ("key",))]
    for door in doors:
        door.open(served, problem=lambda: None)

    def check(value: tuple[bool, str, str, list[tuple[str, str]], list[bytes], str]) -> None:
        closed, method, path, headers, parts, root = value
        statuses: list[int] = []
        messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        messages += [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Message:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": root,
            "scheme": "http",
            "http_version": "1.1",
            "server": ("here", 80),
            "client": ("127.0.0.1", 1),
            "headers": [(name.encode(), text.encode("latin-1", "replace")) for name, text in headers],
        }
        asyncio.run(asyncio.wait_for(doors[closed](scope, receive, send), HANG_S))
        assert len(statuses) == 1 and statuses[0] != 500, scope

    fuzz(
        check,
        st.tuples(
            st.booleans(),
            st.sampled_from(METHODS[:1] * 6 + METHODS),
            st.sampled_from(PATHS) | st.text(max_size=20).map(lambda text: f"/{text}"),
            st.lists(HEADER, max_size=6),
            st.lists(BODY, max_size=3),
            st.sampled_from(["", "/v1", "/"]),
        ),
        seconds=seconds,
    )
    api.state.contract = None
    assert "Traceback" not in caplog.text


@short_and_soak
def test_fuzzed_contract(seconds: float) -> None:
    served = contract(IdleModel(), Log())
    handlers = [served.predict, served.predict_batch, served.explain, served.feedback]

    def check(value: tuple[int, bytes, list[tuple[str, str]]]) -> None:
        which, body, headers = value
        sent = [(name.encode(), text.encode("latin-1", "replace")) for name, text in headers]
        reply = asyncio.run(asyncio.wait_for(served.answer(handlers[which], body, sent), HANG_S))
        assert reply.status in (200, 201, 400, 422), (reply, body)
        json.loads(reply.body)

    fuzz(check, st.tuples(st.integers(0, 3), BODY, st.lists(HEADER, max_size=2)), seconds=seconds)


@short_and_soak
@pytest.mark.parametrize("family", ["packaged", "neural"])
def test_fuzzed_package(request: pytest.FixtureRequest, tmp_path: Path, family: str, seconds: float) -> None:
    sound: Path = request.getfixturevalue(family)
    names = sorted(ModelManifest.read(sound).files)
    listed = [name for name in names if not name.endswith(".onnx")]
    texts = ["a good day", "", "\ud83d", "bad " * 50]

    def check(value: tuple[str, bytes]) -> None:
        name, content = value
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound, folder)
        (folder / name).write_bytes(content)
        if name != MANIFEST:
            # Whoever can write the file can write its digest, too.
            ModelManifest.read(folder, check=False).with_files(folder, name).write(folder)
        with suppress(PolarityError):
            predictor = load_predictor(folder)
            predictor.warm_up()
            predictor(texts)

    altered = [st.tuples(st.just(name), damaged(st.just((sound / name).read_bytes()))) for name in [MANIFEST, *listed]]
    nested = st.tuples(st.just(MANIFEST), st.sampled_from([b'{"card":' + b"[" * 100_000, b'{"card":' * 9000, b"\xff"]))
    fields = JSON.flatmap(
        lambda value: st.sampled_from(sorted(json.loads((sound / MANIFEST).read_bytes()))).map(
            lambda field: (MANIFEST, json.dumps(json.loads((sound / MANIFEST).read_bytes()) | {field: value}).encode())
        )
    )
    fuzz(check, st.one_of(*altered, nested, fields), seconds=seconds)
