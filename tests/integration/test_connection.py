"""The gateway's connection under a real uvicorn: one write per response, refusals and answers before parsing."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, cast

import pytest

from bentos.connection import Connection, Gate
from bentos.simple_request import SimpleHead
from polarity.serving.contract import Prediction, Reply
from tests.integration.servers import until, uvicorn_server

BODY = b'{"text": "good"}'
REFUSAL = Reply(429, b"full", ((b"retry-after", b"2"),))


class CountedReads(Connection):
    """A connection whose test sets `busy` and `answers`, and which records its writes as the system receives them.

    With `answers`, the simplest requests are answered by the gate: with their body, `longer` times, after that many
    seconds.
    """

    busy = False
    asked = 0
    answers: float | None = None
    longer = 1
    begun: list[Prediction]
    completed: list[bool]
    counted: list[str]
    writes: list[bytes]
    latest: CountedReads

    @staticmethod
    def overloaded(path: str, incoming: int) -> Reply | None:
        CountedReads.asked += 1
        return REFUSAL if CountedReads.busy else None

    @staticmethod
    def refused(path: str, reply: Reply, requests: int) -> None:
        CountedReads.counted += [path] * requests

    @staticmethod
    def begin(head: SimpleHead, body: bytes) -> Prediction | None:
        if CountedReads.answers is None or head.path != "/predict":
            return None
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        CountedReads.begun.append(future)
        loop.call_later(
            CountedReads.answers, lambda: future.done() or future.set_result({"body": body * CountedReads.longer})
        )
        return future

    @staticmethod
    def complete(future: Prediction, seconds: float) -> Reply:
        CountedReads.completed.append(not future.cancelled())
        return Reply(0, b"") if future.cancelled() else Reply(200, future.result()["body"])

    @staticmethod
    def turned_away(status: int, code: str) -> Reply:
        return Reply(status, code.encode())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        class Seen:
            def write(self, data: bytes) -> None:
                CountedReads.writes.append(data)
                transport.write(data)

            def __getattr__(self, name: str) -> Any:
                return getattr(transport, name)

        super().connection_made(Seen())  # type: ignore[arg-type]
        CountedReads.latest = self


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers "app", to /early before the body is there, to /slow in two parts; /echo and /forwarded what was sent."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/echo":
        content, more = b"", True
        while more:
            message = await receive()
            content, more = content + message["body"], message["more_body"]
        headers = dict(scope["headers"])
        assert b"upgrade" not in headers and headers[b"host"] == b"here"
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]}
        )
        await send({"type": "http.response.body", "body": content})
        return
    if scope["path"] == "/forwarded":
        content = b", ".join(b"%s: %s" % header for header in scope["headers"] if header[0].startswith(b"x-"))
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]}
        await send(head)
        await send({"type": "http.response.body", "body": content})
        return
    if scope["path"] != "/early":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body"})
        return
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    if scope["path"] == "/slow":
        await asyncio.sleep(0.2)
    await send({"type": "http.response.body", "body": b"pp"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with uvicorn_server(app, http=CountedReads, log_level="warning", timeout_keep_alive=1) as number:
        yield number


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    CountedReads.busy, CountedReads.asked, CountedReads.counted, CountedReads.writes = False, 0, [], []
    CountedReads.answers, CountedReads.begun, CountedReads.completed = None, [], []
    CountedReads.longer = 1
    CountedReads.gate = cast(Gate, CountedReads)
    yield
    CountedReads.busy, CountedReads.answers = False, None


@pytest.fixture
def client(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        yield connection


def request(path: str = "/predict", *headers: str, body: bytes = BODY, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: here", *headers]
    if not any(line.lower().startswith(("content-length", "transfer")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer(client: socket.socket, *, head: bool = False) -> tuple[int, bytes]:
    """Return the status and the body of the next response."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = client.recv(1)
        assert more, "the connection was closed"
        got += more
    length = 0 if head else int(got.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    body = b""
    while len(body) < length:
        body += client.recv(length - len(body))
    return int(got[9:12]), body


def refused(number: int) -> list[str]:
    """Return the paths of the refused requests, once there are this many: they are counted after they are answered."""
    until(lambda: len(CountedReads.counted) >= number)
    return CountedReads.counted


def test_response_head_is_written_with_first_body_chunk(client: socket.socket) -> None:
    client.sendall(request())
    assert answer(client) == (200, b"app")
    first, second = CountedReads.writes
    assert first.startswith(b"HTTP/1.1 200 OK\r\n") and first.endswith(b"\r\n\r\na") and second == b"pp"


def test_head_without_body_is_written(client: socket.socket) -> None:
    client.sendall(request(method="HEAD", body=b""))
    assert answer(client, head=True) == (200, b"")


def test_100_continue_is_sent_immediately(client: socket.socket) -> None:
    client.sendall(request("/predict", "Expect: 100-continue")[: -len(BODY)])
    assert client.recv(1000).startswith(b"HTTP/1.1 100 Continue")
    client.sendall(BODY)
    assert answer(client) == (200, b"app")


def test_invalid_http_gets_400_and_closed_connection(client: socket.socket) -> None:
    client.sendall(b"\x16\x03\x01 hello\r\n\r\n")
    assert answer(client) == (400, b"http_invalid")
    assert client.recv(1) == b""


@pytest.mark.parametrize(
    "plain",
    [
        request(),
        request("/predict/batch", "Accept: */*", "Connection: keep-alive", "User-Agent: (some) client/1.0"),
        request("/predict", "CONTENT-LENGTH:16"),
        request(body=b"\r\n\r\nPOST /predict HTTP/1.1"),
    ],
)
def test_under_overload_a_plain_request_is_refused_before_parsing(client: socket.socket, plain: bytes) -> None:
    CountedReads.busy = True
    for _ in range(3):
        client.sendall(plain)
        assert answer(client) == (429, b"full")
    assert refused(3) == ["/predict/batch" if b"/batch" in plain else "/predict"] * 3
    assert b"\r\nretry-after: 2\r\n" in CountedReads.writes[0] and b"\r\ndate: " in CountedReads.writes[0]
    CountedReads.busy = False
    client.sendall(plain)
    assert answer(client) == (200, b"app"), "and the connection stays usable"


def test_refusal_before_parsing_gives_back_what_the_client_sent_to_find_it(client: socket.socket) -> None:
    CountedReads.busy = True
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    client.sendall(
        request("/predict", f"TraceParent: {parent}", "X-Request-Id: Order-7", "User-Agent: x-request-id: no")
    )
    assert answer(client) == (429, b"full")
    assert f"traceparent: {parent}\r\nx-request-id: Order-7\r\n".encode() in CountedReads.writes[0]
    client.sendall(request("/predict", "Traceparent: 00-0", "X-Request-Id: two words"))
    assert answer(client) == (429, b"full")
    assert b"traceparent" not in CountedReads.writes[1] and b"x-request-id" not in CountedReads.writes[1]
    assert refused(2) == ["/predict"] * 2


def test_requests_that_are_read_together_are_refused_together_and_all_counted(port: int) -> None:
    CountedReads.busy = True
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5)) for _ in range(20)]
        clients[0].sendall(request())
        assert answer(clients[0]) == (429, b"full")
        CountedReads.latest.loop.call_soon_threadsafe(time.sleep, 0.2)
        time.sleep(0.05)
        for number, one in enumerate(clients):
            headers = [f"X-Request-Id: order-{number}"] if number % 2 else []
            one.sendall(request("/predict/batch" if number % 4 == 3 else "/predict", *headers))
        assert [answer(one) for one in clients] == [(429, b"full")] * 20
    assert sorted(refused(21)) == ["/predict"] * 16 + ["/predict/batch"] * 5
    assert CountedReads.asked < 10
    given_back = {line for write in CountedReads.writes for line in write.split(b"\r\n") if line.startswith(b"x-req")}
    assert given_back == {b"x-request-id: order-%d" % number for number in range(1, 20, 2)}


@pytest.mark.parametrize(
    "special",
    [
        request("/predict", "Accept-Language: en"),
        request("/predict", "Transfer-Encoding: chunked", body=b"10\r\n" + BODY + b"\r\n0\r\n\r\n"),
        request("/predict", "Connection: close"),
        request("/predict", "Connection:  te , close"),
        request("/predict", "Origin: https://app.example"),
        request("/other"),
        request("/predict?x=1"),
        request("/predict", "X-Strange: caf\u00e9".encode().decode("latin-1")),
        request(method="GET", body=b""),
    ],
)
def test_ambiguous_requests_take_the_normal_path(client: socket.socket, special: bytes) -> None:
    CountedReads.busy = True
    client.sendall(special)
    assert answer(client) == (200, b"app")
    assert not CountedReads.counted


def test_pipelined_requests_are_answered_in_order(client: socket.socket) -> None:
    CountedReads.busy = True
    plain, other = request(), request("/predict", "Accept-Language: en")
    client.sendall(plain + plain + request("/slow") + other + plain)
    refused, answered = (429, b"full"), (200, b"app")
    # The last one is read together with those before it, which take the normal path.
    assert [answer(client) for _ in range(5)] == [refused, refused, answered, answered, answered]


def test_pipelined_texts_are_answered_one_after_the_other(client: socket.socket) -> None:
    CountedReads.answers = 0.01
    client.sendall(b"".join(request(body=b"%d" % number) for number in range(50)) + request("/slow"))
    time.sleep(0.1)
    assert len(CountedReads.begun) < 20
    assert [answer(client) for _ in range(51)] == [*((200, b"%d" % number) for number in range(50)), (200, b"app")]


def test_texts_wait_while_the_client_does_not_read(client: socket.socket) -> None:
    CountedReads.answers = 0.0
    CountedReads.longer = 100_000
    for _ in range(40):
        client.sendall(request(body=b"01234567"))
        time.sleep(0.01)  # each is read by itself
    begun = len(CountedReads.begun)
    assert begun < 40 and CountedReads.latest.flow.write_paused
    for _ in range(40):
        assert answer(client) == (200, b"01234567" * 100_000)
    assert len(CountedReads.begun) > begun
    assert CountedReads._held_bytes == 0


def test_what_waits_is_bounded(client: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bentos.connection._MAX_HELD_BYTES", 10_000)
    CountedReads.answers = 0.2
    client.sendall(request() + request(body=b"x" * 5000))
    assert [answer(client)[1] for _ in range(2)] == [BODY, b"x" * 5000]
    client.sendall(request() + request(body=b"x" * 15_000))
    with suppress(ConnectionError):
        assert client.recv(1) == b""
    until(lambda: CountedReads._held_bytes == 0, 5)


def test_pipelined_request_waits_for_the_previous_response(client: socket.socket) -> None:
    client.sendall(request("/slow"))
    time.sleep(0.05)
    CountedReads.busy = True
    client.sendall(request())
    assert [answer(client)[0] for _ in range(2)] == [200, 200]


def test_body_that_looks_like_a_request_stays_a_body(client: socket.socket) -> None:
    # Answered before the body came: what comes next belongs to that body, whatever it looks like.
    hidden = request()
    client.sendall(request("/early", f"Content-Length: {len(hidden)}", body=b""))
    assert answer(client) == (200, b"app")
    CountedReads.busy = True
    client.sendall(hidden)
    client.sendall(request("/other"))
    assert answer(client) == (200, b"app")
    assert not CountedReads.counted


def test_fragmented_request_takes_the_normal_path(client: socket.socket) -> None:
    CountedReads.busy = True
    whole = request()
    client.sendall(whole[:30])
    time.sleep(0.05)
    client.sendall(whole[30:])
    assert answer(client) == (200, b"app")


@pytest.mark.parametrize("body", [b"", BODY])
def test_connect_is_the_last_request(client: socket.socket, body: bytes) -> None:
    client.sendall(request("/other"))
    assert answer(client) == (200, b"app")
    client.sendall(request(method="CONNECT", body=body) + request("/other"))
    assert answer(client) == (200, b"app")
    client.settimeout(0.5)
    assert client.recv(1) == b""


def test_idle_connection_is_closed_after_a_refusal(client: socket.socket) -> None:
    CountedReads.busy = True
    client.sendall(request())
    assert answer(client) == (429, b"full")
    assert client.recv(1) == b"", "after a second"


@pytest.mark.parametrize(
    ("proxies", "believed"), [("127.0.0.0/8", True), ("*", True), ("::1,127.0.0.1", True), ("10.0.0.7", False)]
)
def test_forwarded_headers_are_those_of_a_named_proxy(port: int, proxies: str, believed: bool) -> None:
    CountedReads.trust(proxies)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            for _ in range(2):
                client.sendall(request("/forwarded", "X-Forwarded-Prefix: /a", "X-Other: b", "X-FORWARDED-FOR: c"))
                expected = b"x-forwarded-prefix: /a, x-other: b, x-forwarded-for: c" if believed else b"x-other: b"
                assert answer(client) == (200, expected)
    finally:
        CountedReads.trust("127.0.0.1,::1")


def test_a_text_in_one_piece_is_answered_without_the_application(client: socket.socket) -> None:
    CountedReads.answers = 0.01
    for number in range(3):
        client.sendall(request("/predict", f"X-Request-Id: {number}", body=b"%d" % number))
        assert answer(client) == (200, b"%d" % number)
    (first, *_) = CountedReads.writes
    assert len(CountedReads.writes) == 3, "each in one write"
    assert b"\r\nx-request-id: 0\r\n" in first and b"\r\ndate: " in first
    CountedReads.answers = None
    client.sendall(request())
    assert answer(client) == (200, b"app"), "and the connection stays usable for others"
    CountedReads.answers = 0.01
    client.sendall(request())
    assert answer(client) == (200, BODY)


@pytest.mark.parametrize(
    "other",
    [
        request("/predict/batch"),
        request("/explain"),
        request("/predict", "Accept-Language: en"),
        request("/predict", "Connection: close"),
    ],
)
def test_other_requests_are_answered_by_the_application(client: socket.socket, other: bytes) -> None:
    CountedReads.answers = 0.01
    client.sendall(other)
    assert answer(client) == (200, b"app")
    assert not CountedReads.begun


def test_what_comes_while_a_text_is_answered_waits_its_turn(client: socket.socket) -> None:
    CountedReads.answers = 0.2
    client.sendall(request(body=b"first"))
    time.sleep(0.05)
    client.sendall(request("/slow") + request(body=b"second")[:30])
    time.sleep(0.05)
    client.sendall(request(body=b"second")[30:] + request("/other"))
    assert [answer(client) for _ in range(4)] == [(200, b"first"), *[(200, b"app")] * 3]
    client.sendall(request(body=b"third"))
    assert answer(client) == (200, b"third")


def test_a_client_that_disconnects_is_not_answered(client: socket.socket) -> None:
    CountedReads.answers = 0.5
    client.sendall(request())
    time.sleep(0.1)
    client.close()
    time.sleep(0.2)
    (future,) = CountedReads.begun
    assert future.cancelled()
    assert (CountedReads.completed, CountedReads.writes) == ([False], [])


def test_a_connection_is_idle_only_after_its_answer(client: socket.socket) -> None:
    CountedReads.answers = 0.01
    client.sendall(request())
    assert answer(client) == (200, BODY)
    CountedReads.answers = 1.5  # the timer for idle connections ends after a second
    client.sendall(request())
    assert answer(client) == (200, BODY)
    assert CountedReads.latest.waits() is None
    began = time.monotonic()
    assert client.recv(1) == b""
    assert 0.8 < time.monotonic() - began < 2.5


def test_a_stopping_server_answers_before_it_closes_the_connection(client: socket.socket) -> None:
    CountedReads.answers = 0.2
    client.sendall(request())
    time.sleep(0.1)
    CountedReads.latest.loop.call_soon_threadsafe(CountedReads.latest.shutdown)
    assert answer(client) == (200, BODY)
    assert b"\r\nconnection: close\r\n" in CountedReads.writes[0]
    assert client.recv(1) == b""


H2C = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)


@pytest.mark.parametrize(
    ("headers", "body", "content"),
    [
        (H2C, BODY, BODY),
        (H2C, b"", b""),
        (("Upgrade: TLS/1.2, HTTP/2.0", "Connection: keep-alive, upgrade"), BODY, BODY),
        ((*H2C, "Transfer-Encoding: chunked"), b"10\r\n" + BODY + b"\r\n0\r\n\r\n", BODY),
        ((*H2C, "Content-Length: 65536"), b"x" * 65536, b"x" * 65536),
    ],
)
def test_upgrade_that_is_not_offered_is_ignored(
    client: socket.socket, headers: tuple[str, ...], body: bytes, content: bytes
) -> None:
    whole = request("/echo?a=b", *headers, body=body)
    client.sendall(whole + whole + request("/slow") + whole)
    assert [answer(client) for _ in range(4)] == [(200, content), (200, content), (200, b"app"), (200, content)]


def test_fragmented_request_with_an_upgrade_is_answered(client: socket.socket) -> None:
    whole = request("/echo", *H2C)
    for cut in range(0, len(whole), 23):
        client.sendall(whole[cut : cut + 23])
        time.sleep(0.005)
    assert answer(client) == (200, BODY)
    client.sendall(request())
    assert answer(client) == (200, b"app"), "and the connection goes on"


def test_requests_hidden_behind_an_upgrade_are_not_refused_before_parsing(client: socket.socket) -> None:
    CountedReads.busy = True
    hidden = request()
    client.sendall(request("/echo", *H2C, f"Content-Length: {len(hidden)}", body=b""))
    time.sleep(0.05)
    client.sendall(hidden)
    assert answer(client) == (200, hidden)
    assert not CountedReads.counted


def test_websocket_is_not_offered_and_ignored_too(client: socket.socket) -> None:
    key = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
    client.sendall(request("/", "Connection: Upgrade", "Upgrade: websocket", *key, method="GET", body=b""))
    assert answer(client) == (200, b"app")
    client.sendall(request())
    assert answer(client) == (200, b"app"), "and the connection goes on"
