"""uvicorn's HTTP connection, changed for a busy server: one write per response, and cheap refusals under overload.

uvicorn writes the head and the body of a response separately, which costs two
system calls, two packets and two wake-ups of the client. It also creates a task,
a scope and an event for every request before the application can refuse it; a
server that refuses half of its requests would do little else. Under overload, a
request that would be refused whatever its body is therefore answered as soon as
its bytes arrive. An offer to upgrade the protocol, which stops uvicorn's parser,
is ignored.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from functools import lru_cache
from typing import Any, ClassVar, Protocol, cast

import httptools
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from polarity.serving.contract import Reply

# Only unambiguous requests are answered without the parser; all others take the normal path.
_SIMPLE = re.compile(rb"POST (/predict(?:/batch)?) HTTP/1\.1((?:\r\n[a-z-]+: ?[!-~ ]*)+)", re.IGNORECASE)
_LENGTH = re.compile(rb"^content-length: ?([0-9]{1,7})\r?$", re.MULTILINE)
# A response in a requested language, to another origin (CORS), to a chunked body, or the last one of a connection.
_SPECIAL = re.compile(
    rb"^(?:accept-language|origin|transfer-encoding|expect|upgrade|connection(?!: ?keep-alive\r?$))", re.MULTILINE
)
UVICORN = "0.54.0"
_MAX_HEAD_BYTES = 2048
_UVICORN_KEEP_ALIVE_S, _KEEP_ALIVE_S = 5, 75


class _Transport:
    """A transport that holds back the head of a response until the first part of its body is written."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and data[9:10] != b"1":
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send a pending head that has no body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Parser(httptools.HttpRequestParser):
    """A parser that parses a request again without its `Upgrade` header if that is ignored.

    llhttp treats everything after the head of a request with `Upgrade` as another protocol, even if the server stays
    with HTTP (RFC 9110, 7.8). Java's HttpClient offers h2c with the first request of every connection.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._connection = connection

    def feed_data(self, data: bytes | bytearray | memoryview | array[int]) -> None:
        while True:
            try:
                super().feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                head = self._connection.head_without_upgrade()
                if not head:
                    raise
                data = head + bytes(data)[upgrade.args[0] :]
            else:
                return


class Gate(Protocol):
    """Decides when the server is overloaded."""

    def overloaded(self, path: str, incoming: int) -> Reply | None:
        """The refusal that any POST to `path` would get after `incoming` admitted requests, or `None`."""
        ...

    def refused(self, path: str, reply: Reply) -> None:
        """Count a refused request."""
        ...


class Connection(HttpToolsProtocol):
    """One client's connection to the gateway."""

    gate: ClassVar[Gate | None] = None
    """Refuses requests early that would be refused whatever their body."""

    _incoming: ClassVar[int] = 0
    """Requests read in this event loop iteration: all are counted here before the first of them is handled."""
    _out: _Transport
    _between_requests = True
    _upgrade_ignored = False
    _refused_at = float("-inf")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)
        # As in uvicorn: data after `Connection: close` is not an error.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        if self.timeout_keep_alive == _UVICORN_KEEP_ALIVE_S:
            # It is the default. Load balancers keep an idle connection for a minute, and lose a request if the
            # connection is closed just when they reuse it.
            self.timeout_keep_alive = _KEEP_ALIVE_S

    @classmethod
    def install(cls) -> None:
        """Make this the default HTTP protocol of uvicorn in this process."""
        uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{cls.__module__}:{cls.__qualname__}"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._out = _Transport(transport)
        super().connection_made(cast(asyncio.Transport, self._out))

    def data_received(self, data: bytes) -> None:
        if self._between_requests and data.startswith(b"POST /predict"):
            if answer := self._early_refusal(data):
                self._out.write(answer)
                self._refused_at = self.loop.time()
                if self.timeout_keep_alive_task is None:
                    self._schedule_keep_alive(self.timeout_keep_alive)
                return
            if not Connection._incoming:
                self.loop.call_soon(self._reset_incoming)
            Connection._incoming += 1
        super().data_received(data)

    @staticmethod
    def _reset_incoming() -> None:
        Connection._incoming = 0

    def _early_refusal(self, data: bytes) -> bytes | None:
        """The refusal as bytes, if `data` is a complete simple request that would be refused whatever its body."""
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        head, end, body = data.partition(b"\r\n\r\n")
        path, length = _parse_simple(head) if len(head) <= _MAX_HEAD_BYTES else ("", 0)
        if not path or not end or length != len(body) or self.gate is None:
            return None
        if (reply := self.gate.overloaded(path, self._incoming)) is None:
            return None
        self.gate.refused(path, reply)
        line, rest = _encoded(reply)
        return b"".join([line, *(b"%s: %s\r\n" % header for header in self.server_state.default_headers), rest])

    def _schedule_keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        # Refusals do not reset the timer, which would be a tenth of their cost.
        left_s = self._refused_at + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._schedule_keep_alive(left_s)
        else:
            super().timeout_keep_alive_handler()

    def on_message_begin(self) -> None:
        self._between_requests = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and not self._should_upgrade() and self.parser.get_method() != b"CONNECT":
            # The parser stops here, treats the message as complete, and raises.
            self._upgrade_ignored = True
            return
        super().on_headers_complete()

    def head_without_upgrade(self) -> bytes:
        """The head of the request that stopped the parser, without `Upgrade`; empty if the upgrade is not ignored."""
        if not self._upgrade_ignored:
            return b""
        self._upgrade_ignored = False
        line = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        kept = (b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade")
        return b"".join([line, *kept, b"\r\n"])

    def on_message_complete(self) -> None:
        if self._upgrade_ignored:
            return
        self._between_requests = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._out.flush()
        super().on_response_complete()


@lru_cache(maxsize=1024)
def _parse_simple(head: bytes) -> tuple[str, int]:
    """Path and body length of a simple request, otherwise an empty path. Cached: a client repeats the same head."""
    if (request := _SIMPLE.fullmatch(head)) is None:
        return "", 0
    headers = request[2].lower()
    lengths = _LENGTH.findall(headers)
    if len(lengths) != 1 or _SPECIAL.search(headers):
        return "", 0
    return request[1].decode("ascii"), int(lengths[0])


@lru_cache(maxsize=256)
def _encoded(reply: Reply) -> tuple[bytes, bytes]:
    """The status line of a response, and everything after the headers that uvicorn adds to every response."""
    head = b"".join(b"%s: %s\r\n" % header for header in reply.headers)
    return STATUS_LINE[reply.status], b"%s\r\n%s" % (head, reply.body)
