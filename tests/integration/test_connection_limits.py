"""The limits of the gateway's connections under a real uvicorn: what a client may send, hold and keep waiting for."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, ClassVar, cast

import pytest

from bentos.connection import MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED, Connection, Gate
from bentos.limits import ConnectionLimits, OpenConnections
from bentos.simple_request import SimpleHead
from polarity.serving.contract import Prediction, Reply
from tests.integration.servers import until, uvicorn_server

MIB = 1024 * 1024
BODY = b'{"text": "good"}'
BIG = 16 * MIB
OTHER_CLIENT = "127.0.0.2"


class TightConnection(Connection):
    """A connection with low limits; counts what it turns away and refuses early."""

    opened = OpenConnections(
        ConnectionLimits(
            head_timeout_s=0.4, body_timeout_s=0.4, send_timeout_s=0.8, max_connections=12, max_connections_per_client=8
        )
    )
    busy: ClassVar[bool] = False
    codes: ClassVar[list[str]] = []

    @staticmethod
    def overloaded(path: str, incoming: int) -> Reply | None:
        return Reply(429, b"full") if TightConnection.busy else None

    @staticmethod
    def refused(path: str, reply: Reply, requests: int) -> None:
        TightConnection.codes += ["refused"] * requests

    @staticmethod
    def begin(head: SimpleHead, body: bytes) -> Prediction | None:
        return None

    @staticmethod
    def turned_away(status: int, code: str) -> Reply:
        TightConnection.codes.append(code)
        return Reply(status, code.encode(), ((b"connection", b"close"),))


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers the number of headers: to /early before the body is there, to /slow late, to /big with many zeros."""
    if scope["path"] != "/early":
        while (await receive()).get("more_body"):
            pass
    if scope["path"] == "/slow":
        await asyncio.sleep(1.2)
    content = bytes(BIG) if scope["path"] == "/big" else b"%d" % len(scope["headers"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    TightConnection.gate = cast(Gate, TightConnection)
    with uvicorn_server(app, http=TightConnection, log_level="error") as number:
        yield number


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    TightConnection.busy, TightConnection.codes = False, []
    yield
    TightConnection.busy = False
    until(lambda: not TightConnection.opened, 5, message="a closed connection was not forgotten")


Connect = Callable[..., socket.socket]


@pytest.fixture
def connect(port: int) -> Iterator[Connect]:
    with ExitStack() as stack:

        def open_one(host: str = "127.0.0.1") -> socket.socket:
            return stack.enter_context(
                socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(host, 0))
            )

        yield open_one


def head(path: str = "/", *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: here", *headers]).encode() + b"\r\n\r\n"


def answer(client: socket.socket) -> tuple[int, bytes]:
    """The status and the body of the next response."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = client.recv(1)
        assert more, "the connection was closed"
        got += more
    length = int(got.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    body = b""
    while len(body) < length:
        body += client.recv(length - len(body))
    return int(got[9:12]), body


def rest(client: socket.socket) -> bytes:
    """Everything that the server still sends before it closes the connection."""
    got = b""
    try:
        while part := client.recv(65536):
            got += part
    except ConnectionError:
        pass
    return got


def pour(client: socket.socket, piece: bytes, *, until_bytes: int) -> int:
    """Send the same again and again, until the server closes the connection or enough is sent; how much was."""
    sent = 0
    try:
        while sent < until_bytes:
            sent += client.send(piece)
    except ConnectionError:
        pass
    return sent


LONG = "x" * 60_000


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head(f"/{LONG}"), 200),
        (head("/", f"X-Long: {LONG}"), 200),
        (head("/", *(f"X-{n}: a" for n in range(MAX_HEADERS - 1))), 200),
        (head("/", *(f"X-{n}: a" for n in range(MAX_HEADERS))), 431),
        (head("/", *(f"X-{n}: {'a' * 1000}" for n in range(MAX_HEAD_BYTES // 1000 + 10))), 431),
        (head("/", f"X-Long: {LONG}{LONG}"), 431),
        (head(f"/{LONG}{LONG}"), 414),
    ],
    ids=["long URL", "long header", "128 headers", "129 headers", "large head", "larger header", "larger URL"],
)
def test_head_is_bounded(connect: Connect, request_head: bytes, status: int) -> None:
    client = connect()
    client.sendall(head())
    assert answer(client)[0] == 200
    client.sendall(request_head)
    got, body = answer(client)
    assert got == status
    if status == 200:
        client.sendall(head())
        assert answer(client)[0] == 200, "and the connection goes on"
    else:
        assert rest(client) == b"" and TightConnection.codes == [body.decode()]


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"GET / HTTP/1.1\r\n", b"a:b\r\n"),
        (b"GET / HTTP/1.1\r\nX: ", b"x" * 1000),
        (b"GET / HTTP/1.1\r\n", b"x" * 1000),
        (b"GET /", b"x" * 1000),
        (b"", b"\r\n" * 500),
        (b"", b"X" * 1000),
        (head("/", "Transfer-Encoding: chunked", method="POST") + b"1\r\na\r\n0\r\n", b"a:b\r\n"),
        (head("/", "Transfer-Encoding: chunked", method="POST") + b"1\r\na\r\n0\r\nX: ", b"x" * 1000),
        (head("/", "Transfer-Encoding: chunked", method="POST") + b"1;", b"x" * 1000),
        (head("/early", "Transfer-Encoding: chunked", method="POST") + b"1\r\na\r\n0\r\n", b"a:b\r\n"),
        (b"", head("/slow")),
    ],
    ids=[
        "headers", "value", "name", "URL", "blank lines", "method", "trailers", "trailer", "chunk extension",
        "trailers of an answered request", "pipelined requests",
    ],
)  # fmt: skip
def test_endless_head_closes_the_connection(connect: Connect, start: bytes, endless: bytes) -> None:
    client = connect()
    client.sendall(start)
    piece = endless * (20_000 // len(endless))
    assert pour(client, piece, until_bytes=40 * MIB) < 40 * MIB
    rest(client)
    other = connect()
    other.sendall(head())
    assert answer(other)[0] == 200


def test_trailers_are_no_headers(connect: Connect) -> None:
    client = connect()
    client.sendall(
        head("/", "Transfer-Encoding: chunked", method="POST") + b"1\r\na\r\n0\r\nX-API-Key: key\r\nHost: there\r\n\r\n"
    )
    assert answer(client) == (200, b"2")
    client.sendall(head())
    assert answer(client) == (200, b"1"), "nor those of the next request"


def test_too_many_trailers_are_refused_in_words(connect: Connect) -> None:
    client = connect()
    client.sendall(head("/", "Transfer-Encoding: chunked", method="POST") + b"1\r\na\r\n0\r\n" + b"a:b\r\n" * 500)
    assert answer(client) == (431, b"head_too_large")
    assert rest(client) == b""


def test_some_pipelined_requests_are_answered(connect: Connect) -> None:
    client = connect()
    client.sendall(head() * MAX_PIPELINED)
    assert [answer(client) for _ in range(MAX_PIPELINED)] == [(200, b"1")] * MAX_PIPELINED


def drip(client: socket.socket, pieces: Iterator[bytes]) -> bytes:
    """Send pieces slowly until the server closes the connection; its last words."""
    got = b""
    client.settimeout(0.05)
    for piece in pieces:
        try:
            client.sendall(piece)
            if not (part := client.recv(65536)):
                return got
            got += part
        except TimeoutError:
            continue
        except ConnectionError:
            return got
    raise AssertionError("the server keeps waiting")


@pytest.mark.parametrize("warm", [False, True], ids=["first request", "second request"])
@pytest.mark.parametrize("half", [b"G", b"GET / HTTP/1.1\r\nHost: here\r\n", b"\r\n"])
def test_half_a_head_is_closed_in_time(connect: Connect, half: bytes, warm: bool) -> None:
    client = connect()
    if warm:
        client.sendall(head())
        answer(client)
    client.sendall(half)
    assert answer(client) == (408, b"body_too_slow")
    assert rest(client) == b""


def test_head_that_drips_in_is_closed_in_time(connect: Connect) -> None:
    assert drip(connect(), iter([b"GET /", *[b"x"] * 100])).startswith(b"HTTP/1.1 408 ")


def test_silent_connection_is_closed_in_time(connect: Connect) -> None:
    assert rest(connect()) == b""


@pytest.mark.parametrize("busy", [False, True], ids=["answered", "refused early"])
def test_idle_connection_stays_open_between_requests(connect: Connect, busy: bool) -> None:
    TightConnection.busy = busy
    client = connect()
    for _ in range(2):
        client.sendall(head("/predict", f"Content-Length: {len(BODY)}", method="POST") + BODY)
        assert answer(client)[0] == (429 if busy else 200)
        time.sleep(1.5)


def test_client_may_wait_for_a_slow_response(connect: Connect) -> None:
    client = connect()
    client.sendall(head("/slow"))
    assert answer(client) == (200, b"1")


def test_body_of_an_answered_request_is_not_awaited_for_ever(connect: Connect) -> None:
    client = connect()
    client.sendall(head("/early", "Content-Length: 1000", method="POST"))
    assert answer(client) == (200, b"2")
    assert drip(client, (b"x" for _ in range(100))) == b""


def test_client_that_does_not_read_is_closed(connect: Connect) -> None:
    client = connect()
    client.sendall(head("/big"))
    assert client.recv(1), "the response has begun, and so the connection is counted"
    until(lambda: not TightConnection.opened, 10)
    assert len(rest(client)) < BIG


def test_client_that_reads_is_not(connect: Connect) -> None:
    client = connect()
    for _ in range(3):
        client.sendall(head("/big"))
        assert answer(client) == (200, bytes(BIG))


def test_refusals_wait_until_the_client_has_read_the_last_ones(connect: Connect) -> None:
    TightConnection.busy = True
    client = connect()
    request = head("/predict", f"Content-Length: {len(BODY)}", method="POST") + BODY
    client.settimeout(0.3)
    sent = 0
    try:
        while sent < 100 * MIB:
            client.sendall(request)
            sent += len(request)
    except (TimeoutError, ConnectionError):
        pass
    # What fits into the system's buffers, and no more than a few responses in those of the process.
    assert sent < 100 * MIB, "the server reads on, and keeps the responses"


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 16", "Content-Length: 16"),
        ("Content-Length: 16", "Content-Length:  16"),
        ("Content-Length: 16", "content-length: 16 "),
        ("Content-Length: 16", "Content-Length: 0016"),
        ("Content-Length: 16", "CONTENT-LENGTH: 99999999"),
        ("Content-Length: 16", "Content-Length:"),
        ("Content-Length: 16", "Content-Length: +16"),
        ("Content-Length: 16, 16",),
    ],
)
def test_ambiguous_length_is_left_to_the_parser(connect: Connect, lines: tuple[str, ...]) -> None:
    TightConnection.busy = True
    client = connect()
    client.sendall(head("/predict", *lines, method="POST") + BODY)
    assert answer(client) == (400, b"http_invalid")
    assert TightConnection.codes == ["http_invalid"], "and not refused early"


def test_connections_of_one_client_are_limited(connect: Connect) -> None:
    clients = [connect() for _ in range(8)]
    for client in clients:
        client.sendall(head())
        assert answer(client)[0] == 200
    assert answer(connect()) == (503, b"too_many_connections")
    neighbour = connect(OTHER_CLIENT)
    neighbour.sendall(head())
    assert answer(neighbour)[0] == 200, "and those of others are not affected"
    clients.pop().close()
    time.sleep(0.05)
    client = connect()
    client.sendall(head())
    assert answer(client)[0] == 200, "there is room again"


def test_connections_are_limited_in_all(connect: Connect) -> None:
    clients = [connect() for _ in range(8)] + [connect(OTHER_CLIENT) for _ in range(4)]
    for client in clients:
        client.sendall(head())
        assert answer(client)[0] == 200
    assert answer(connect("127.0.0.3")) == (503, b"too_many_connections")
