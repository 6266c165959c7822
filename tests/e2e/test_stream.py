"""POST /predict/stream against a served Bento: order, back-pressure in both directions, and memory."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from bentos.stream import MAX_LINE_BYTES, Lines
from tests.integration.servers import until

pytestmark = pytest.mark.skipif("BASE_URL" in os.environ, reason="needs a server of its own")

PATH = "/predict/stream"


@pytest.fixture(scope="module")
def server(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    log = tmp_path_factory.mktemp("log") / "predictions.db"
    with serve(POLARITY_PREDICTION_LOG=str(log), POLARITY_BODY_TIMEOUT_S="2") as server:
        server.log_file = log
        yield server


def post(url: str, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(url + PATH, content=body, headers=headers, trust_env=False, timeout=60)


def answers(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.content.splitlines()]


def line(number: int) -> bytes:
    return b'{"text": "what a lovely day %d"}\n' % number


def long_line(number: int) -> bytes:
    """A line that is much larger than its answer."""
    return b'{"text": "what a lovely day %d"%s}\n' % (number, b" " * 2_000)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that has begun a chunked request."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=2**20)
    writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % PATH.encode())
    try:
        yield reader, writer
    finally:
        writer.close()


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readline(), 16)
    body = await reader.readexactly(size)
    await reader.readexactly(2)
    return body


async def skip_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def test_each_line_is_answered_in_its_place(server: Any) -> None:
    body = b"".join(
        [
            line(1),
            b"\n",
            b'{"text": " "}\n',
            b"not json\n",
            b'{"texte": "x"}\n',
            b'{"text": 5}\r\n',
            b'{"text": "%s"}\n' % (b"x" * MAX_LINE_BYTES),
            b'{"text": "so sad"}',
        ]
    )
    response = post(server.url, body, **{"accept-language": "en"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    found = answers(response)
    assert [one.get("error") for one in found] == [
        None, "The text must not be empty.", "The body must be JSON in UTF-8.", "Field required.",
        "The text must be a string.", "The line is too long.", None,
    ]  # fmt: skip
    single = httpx.post(f"{server.url}/predict", json={"text": "so sad"}, trust_env=False).json()
    assert {**found[-1], "prediction_id": ""} == {**single, "prediction_id": ""}


def test_every_answer_is_recorded(server: Any) -> None:
    found = answers(post(server.url, b"".join(map(line, range(3_000)))))
    ids = {one["prediction_id"] for one in found}
    assert len(ids) == 3_000

    def recorded() -> set[str]:
        with sqlite3.connect(server.log_file) as database:
            return {row[0] for row in database.execute("SELECT id FROM predictions")}

    until(lambda: ids <= recorded(), timeout_s=20, message="answers are not in the record")


def test_a_line_is_answered_before_the_next_one_is_sent(server: Any) -> None:
    async def converse() -> None:
        async with opened(server.url) as (reader, writer):
            for number in range(5):
                writer.write(chunk(line(number)))
                if not number:
                    assert b" 200 " in await skip_head(reader)
                assert "prediction_id" in json.loads(await asyncio.wait_for(read_chunk(reader), 10))
            writer.write(chunk(b'{"text": "no line') + chunk(b' end"}') + chunk(b""))
            assert "prediction_id" in json.loads(await asyncio.wait_for(read_chunk(reader), 10))
            assert await asyncio.wait_for(read_chunk(reader), 10) == b""
            assert await asyncio.wait_for(reader.read(), 10) == b"", "the connection is closed"

    asyncio.run(converse())


def test_a_client_that_stops_sending_is_told(server: Any) -> None:
    async def converse() -> list[bytes]:
        async with opened(server.url) as (reader, writer):
            writer.write(chunk(line(1) + b'{"text": "half'))
            await skip_head(reader)
            return [await asyncio.wait_for(read_chunk(reader), 10) for _ in range(3)]

    first, second, end = asyncio.run(converse())
    assert "prediction_id" in json.loads(first)
    assert json.loads(second) == {"error": "La requête arrive trop lentement."}
    assert end == b""


def test_a_client_that_does_not_read_is_not_read_from(server: Any) -> None:
    process = psutil.Process(server.process.pid)

    def memory() -> int:
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])

    at_once, limit = 100, 500_000

    async def converse() -> None:
        async with opened(server.url) as (reader, writer):
            before = memory()
            sent, full = 0, False
            # How much the sockets of both sides hold differs from machine to machine.
            while not full and sent < limit:
                writer.write(chunk(b"".join(map(long_line, range(sent, sent + at_once)))))
                sent += at_once
                try:
                    await asyncio.wait_for(writer.drain(), 2)
                except TimeoutError:
                    full = True
            assert full, "the server went on reading"
            assert memory() - before < 64 * 2**20
            writer.write(chunk(b""))
            await skip_head(reader)
            count = 0
            while piece := await asyncio.wait_for(read_chunk(reader), 30):
                count += piece.count(b"\n")
            assert memory() - before < 64 * 2**20
            assert count == sent

    asyncio.run(converse())


def test_many_streams_and_single_requests_get_all_their_answers(server: Any) -> None:
    async def ask() -> list[list[dict[str, Any]]]:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
            streams = [client.post(PATH, content=b"".join(map(line, range(400)))) for _ in range(20)]
            singles = [client.post("/predict", json={"text": f"so sad {n}"}) for n in range(100)]
            done = await asyncio.gather(*streams, *singles)
            assert {one.status_code for one in done} == {200}
            return [answers(one) for one in done[:20]]

    for found in asyncio.run(ask()):
        assert len({one["prediction_id"] for one in found}) == 400


def test_what_cannot_be_a_stream_is_refused_at_once(server: Any) -> None:
    refused = post(server.url, b"x", **{"content-encoding": "gzip", "accept-language": "en"})
    assert (refused.status_code, refused.json()["detail"]) == (415, "A stream cannot be compressed.")
    assert httpx.get(server.url + PATH, trust_env=False).status_code == 405
    assert post(server.url, b"").content == b""


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_streams_a_file(server: Any, tmp_path: Path) -> None:
    (tmp_path / "tweets.jsonl").write_bytes(b"".join(map(line, range(5_000))))
    command = ["curl", "-sS", "-X", "POST", "-T", "tweets.jsonl", server.url + PATH]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert len(done.stdout.splitlines()) == 5_000


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_a_million_texts_take_constant_memory(server: Any, tmp_path: Path) -> None:
    with (tmp_path / "tweets.jsonl").open("wb") as file:
        file.writelines(map(line, range(1_000_000)))
    process = psutil.Process(server.process.pid)
    most = []
    command = ["curl", "-sS", "-X", "POST", "-T", "tweets.jsonl", server.url + PATH]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        for count, answer in enumerate(curl.stdout, 1):
            assert b'"prediction_id"' in answer
            if count % 100_000 == 0:
                most.append(sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]))
    assert count == 1_000_000
    assert most[-1] < most[1] + 32 * 2**20


@pytest.mark.parametrize("cut", [1, 2, 7, 1000])
def test_lines_do_not_depend_on_the_pieces(cut: int) -> None:
    body = b"one\n\ntwo\r\n" + b"x" * (MAX_LINE_BYTES + 1) + b"\nthree\n" + b"y" * MAX_LINE_BYTES + b"\nend"
    feed: Callable[..., list[bytes | None]] = Lines().feed
    found = []
    for start in range(0, len(body), cut):
        found += feed(body[start : start + cut], last=start + cut >= len(body))
    assert found == [b"one", b"two\r", None, b"three", b"y" * MAX_LINE_BYTES, b"end"]
