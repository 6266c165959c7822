"""uvicorn's HTTP connection, changed for a busy server in the open: one write per response, cheap refusals, limits.

uvicorn writes the head and the body of a response separately, which costs two
system calls, two packets and two wake-ups of the client. It also creates a task,
a scope and an event for every request before the application can refuse it; a
server that refuses half of its requests would do little else. Under overload, a
request that would be refused whatever its body is therefore answered as soon as
its bytes arrive. An offer to upgrade the protocol, which stops uvicorn's parser,
is ignored.

uvicorn bounds neither what a client sends before its request is complete, nor
how long it takes. Here heads are bounded in bytes and headers, also those after
a chunked body, and so are pipelined requests, the number of connections and the
time that each keeps the server waiting.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from functools import lru_cache
from typing import Any, ClassVar, Protocol, cast

import httptools
import uvicorn.config
from uvicorn.middleware.proxy_headers import _TrustedHosts
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from bentos.limits import ConnectionLimits, OpenConnections, Wait
from polarity.serving.contract import Reply
from polarity.serving.trace_context import correlation

# Only unambiguous requests are answered without the parser; all others take the normal path.
_SIMPLE = re.compile(rb"POST (/predict(?:/batch)?) HTTP/1\.1((?:\r\n[a-z-]+: ?[!-~ ]*)+)", re.IGNORECASE)
_LENGTH = re.compile(rb"^content-length: ?([0-9]{1,7})\r?$", re.MULTILINE)
# A response in a requested language, to another origin (CORS), to a chunked body, or the last one of a connection.
_SPECIAL = re.compile(
    rb"^(?:accept-language|origin|transfer-encoding|expect|upgrade|connection(?!: ?keep-alive\r?$))", re.MULTILINE
)
_CORRELATED = re.compile(rb"^(traceparent|x-request-id): ?([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
UVICORN = "0.54.0"
_MAX_SIMPLE_HEAD_BYTES = 2048
# Of a request's first line and headers, and of everything in a chunked body that is not content.
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 128
MAX_PIPELINED = 64
# Fed to the parser at once: a bound on what it can produce before the limits are checked.
_PIECE_BYTES = 8 * 1024
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
        # uvloop raises; uvicorn still writes for a request before the one whose connection it closed.
        if not self._transport.is_closing():
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

    def turned_away(self, status: int, code: str) -> Reply:
        """Count a client whose connection is closed, and return the refusal for it."""
        ...


class _TooMuchError(Exception):
    """Raised in the parser to stop it: the client has sent too much before its request is complete."""


class Connection(HttpToolsProtocol):
    """One client's connection to the gateway."""

    gate: ClassVar[Gate | None] = None
    """Refuses requests early that would be refused whatever their body."""

    opened: ClassVar[OpenConnections] = OpenConnections(ConnectionLimits())
    """All connections of this process, and their limits."""

    _proxies: ClassVar[_TrustedHosts] = _TrustedHosts("127.0.0.1,::1")
    _from_proxy = False
    """Whether the other end is a proxy whose `X-Forwarded-*` headers are believed."""

    _incoming: ClassVar[int] = 0
    """Requests read in this event loop iteration: all are counted here before the first of them is handled."""
    _out: _Transport
    _between_requests = True
    _in_body = False
    _stopped = False
    """The parser was stopped because of a limit."""
    _upgrade_ignored = False
    _refused_at = float("-inf")
    _unfinished_bytes = 0
    """Bytes fed to the parser since it last completed a head, a request or a part of a body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser, self.headers = _Parser(self), []
        # As in uvicorn: data after `Connection: close` is not an error.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        if self.timeout_keep_alive == _UVICORN_KEEP_ALIVE_S:
            # It is the default. Load balancers keep an idle connection for a minute, and lose a request if the
            # connection is closed just when they reuse it.
            self.timeout_keep_alive = _KEEP_ALIVE_S
        if self.config.timeout_graceful_shutdown is None:
            # By default a client that reads slowly, or a stream, keeps the process from ending until it is killed.
            self.config.timeout_graceful_shutdown = cast(int, self.opened.limits.grace_s)

    @classmethod
    def trust(cls, proxies: str) -> None:
        """Believe the `X-Forwarded-*` headers of these proxies: addresses and networks, or `*`."""
        cls._proxies = _TrustedHosts(proxies)

    @classmethod
    def install(cls) -> None:
        """Make this the default HTTP protocol of uvicorn in this process."""
        uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{cls.__module__}:{cls.__qualname__}"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._out = _Transport(transport)
        super().connection_made(cast(asyncio.Transport, self._out))
        self._from_proxy = (self.client[0] if self.client else None) in self._proxies
        if not self.opened.admit(self, self.client[0] if self.client else None):
            self._turn_away(503, "too_many_connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self.opened.leave(self)
        super().connection_lost(exc)

    def waits(self) -> Wait | None:
        """What this connection waits for from its client, except for the next request, which has a timer."""
        limits = self.opened.limits
        if self.transport.get_write_buffer_size():
            return Wait("reading", None, limits.send_timeout_s)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            return None
        # A client whose requests were all refused early has no cycle, but a timer.
        if self._unfinished_bytes or (cycle is None and self.timeout_keep_alive_task is None):
            return Wait("head", cycle, limits.head_timeout_s)
        return None if self._between_requests else Wait("body", cycle, limits.body_timeout_s)

    def expire(self, wait: Wait) -> None:
        """Close the connection: its client is too slow."""
        if wait.what == "reading":
            self.transport.abort()
        elif wait.what == "head" and self._unfinished_bytes:
            self._turn_away(408, "body_too_slow")
        else:
            self.transport.close()

    def _turn_away(self, status: int, code: str) -> None:
        """Close the connection; say why if the client would take it for the response to its unfinished request."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and self._in_body:
            unanswered = not self.pipeline and not cycle.response_started
        else:
            unanswered = cycle is None or cycle.response_complete
        if self.gate is not None and unanswered:
            self._out.write(self._refusal(self.gate.turned_away(status, code)))
            if cycle is not None:
                cycle.disconnected = True
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._between_requests and data.startswith(b"POST /predict"):
            if answer := self._early_refusal(data):
                self._out.write(answer)
                self._refused_at = self.loop.time()
                self._unfinished_bytes = 0
                if self.timeout_keep_alive_task is None:
                    self._schedule_keep_alive(self.timeout_keep_alive)
                return
            if not Connection._incoming:
                self.loop.call_soon(self._reset_incoming)
            Connection._incoming += 1
        if len(data) <= _PIECE_BYTES:
            self._parse(data)
            return
        whole = memoryview(data)
        for start in range(0, len(whole), _PIECE_BYTES):
            self._parse(whole[start : start + _PIECE_BYTES])
            if self.transport.is_closing():
                return

    def _parse(self, data: bytes | memoryview) -> None:
        self._unfinished_bytes += len(data)
        super().data_received(data)  # type: ignore[arg-type]  # it is only passed on to the parser
        unfinished = self._unfinished_bytes or not self._between_requests
        if unfinished and self._too_much() and not self.transport.is_closing():
            self._turn_away_for_size()

    def _too_much(self) -> bool:
        return self._unfinished_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS

    def _turn_away_for_size(self) -> None:
        if not self._in_body and not self._between_requests and not self.headers:
            self._turn_away(414, "url_too_long")
        else:
            self._turn_away(431, "head_too_large")

    def send_400_response(self, msg: str) -> None:
        """Refuse what stopped the parser: the limits of a request's head, or its syntax."""
        if self._stopped:
            self._turn_away_for_size()
        else:
            super().send_400_response(msg)

    @staticmethod
    def _reset_incoming() -> None:
        Connection._incoming = 0

    def _early_refusal(self, data: bytes) -> bytes | None:
        """The refusal as bytes, if `data` is a complete simple request that would be refused whatever its body."""
        if self.flow.write_paused or (self.cycle is not None and not self.cycle.response_complete):
            return None
        head, end, body = data.partition(b"\r\n\r\n")
        path, length, given_back = _parse_simple(head) if len(head) <= _MAX_SIMPLE_HEAD_BYTES else ("", 0, b"")
        if not path or not end or length != len(body) or self.gate is None:
            return None
        if (reply := self.gate.overloaded(path, self._incoming)) is None:
            return None
        self.gate.refused(path, reply)
        return self._refusal(reply, given_back)

    def _refusal(self, reply: Reply, given_back: bytes = b"") -> bytes:
        line, rest = _encoded(reply)
        added = (b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        return b"".join([line, *added, given_back, rest])

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
        if len(self.headers) > MAX_HEADERS or len(self.pipeline) >= MAX_PIPELINED:
            self._stopped = True
            raise _TooMuchError
        self._unfinished_bytes = 0
        if not self._from_proxy:
            self.headers[:] = [header for header in self.headers if not header[0].startswith(b"x-forwarded-")]
        super().on_headers_complete()
        self._in_body = True
        # What follows the body are no headers of the request: a proxy may have checked only those before it.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        self._unfinished_bytes = 0
        super().on_body(body)

    def _should_upgrade_to_ws(self) -> bool:
        # There is nothing to talk to, and uvicorn's WebSocket connection has no limits.
        return False

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
        self._between_requests, self._in_body, self._unfinished_bytes = True, False, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._out.flush()
        super().on_response_complete()


@lru_cache(maxsize=1024)
def _parse_simple(head: bytes) -> tuple[str, int, bytes]:
    """Path and body length of a simple request, and the headers that its client gets back.

    The path is empty if the request is not simple. Cached: a client repeats the same head.
    """
    if (request := _SIMPLE.fullmatch(head)) is None:
        return "", 0, b""
    headers = request[2].lower()
    lengths = _LENGTH.findall(headers)
    # Every line counts, also one in a form that is not read here.
    if len(lengths) != 1 or headers.count(b"\r\ncontent-length:") != 1 or _SPECIAL.search(headers):
        return "", 0, b""
    named = correlation((name.lower(), value) for name, value in _CORRELATED.findall(request[2]))
    given_back = b"".join(b"%s: %s\r\n" % header for header in named.headers())
    return request[1].decode("ascii"), int(lengths[0]), given_back


@lru_cache(maxsize=256)
def _encoded(reply: Reply) -> tuple[bytes, bytes]:
    """The status line of a response, and everything after the headers that uvicorn adds to every response."""
    head = b"".join(b"%s: %s\r\n" % header for header in reply.headers)
    return STATUS_LINE[reply.status], b"%s\r\n%s" % (head, reply.body)
