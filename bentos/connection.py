"""uvicorn's HTTP connection, changed for a busy server in the open: few steps per request, cheap refusals, limits.

uvicorn writes the head and the body of a response separately, which costs two
system calls, two packets and two wake-ups of the client. It also creates a task,
a scope and an event for every request before the application can refuse it; a
server that refuses half of its requests would do little else. Under overload, a
request that would be refused whatever its body is therefore answered as soon as
its bytes arrive, and a text that arrives in one piece, as most do, is answered
without the parser, a scope and a task, which take longer than a small model. An
offer to upgrade the protocol, which stops uvicorn's parser, is ignored.

uvicorn bounds neither what a client sends before its request is complete, nor
how long it takes. Here heads are bounded in bytes and headers, also those after
a chunked body, and so are pipelined requests, the number of connections and the
time that each keeps the server waiting.
"""

from __future__ import annotations

import asyncio
from array import array
from functools import lru_cache, partial
from time import perf_counter
from typing import Any, ClassVar, Protocol, cast

import httptools
import uvicorn.config
from uvicorn.middleware.proxy_headers import _TrustedHosts
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from bentos.limits import ConnectionLimits, OpenConnections, Wait
from bentos.simple_request import SimpleHead, read_simple
from polarity.serving.contract import Prediction, Reply

UVICORN = "0.54.0"
# Of a request's first line and headers, and of everything in a chunked body that is not content.
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 128
MAX_PIPELINED = 16
# Of all connections: what has been read, and waits for the responses before it. A read is at most 256 KiB.
_MAX_HELD_BYTES = 64 * 1024 * 1024
# Fed to the parser at once: a bound on what it can produce before the limits are checked.
_PIECE_BYTES = 8 * 1024
# Within a body, to which uvicorn adds each piece by copying what it has.
_BODY_PIECE_BYTES = 64 * 1024
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

    def write_whole(self, response: bytes) -> None:
        """Send a response that is not uvicorn's."""
        if self._head or self._transport.is_closing():
            self.write(response)
        else:
            self._transport.write(response)

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
    """Decides when the server is overloaded, and answers the simplest requests; its replies have all headers but their
    length."""

    def overloaded(self, path: str, incoming: int) -> Reply | None:
        """The refusal that any POST to `path` would get after `incoming` admitted requests, or `None`."""
        ...

    def refused(self, path: str, reply: Reply, requests: int) -> None:
        """Count refused requests."""
        ...

    def begin(self, head: SimpleHead, body: bytes) -> Prediction | None:
        """Begin to answer a text, or return `None` if the application has to."""
        ...

    def complete(self, answer: Prediction, seconds: float) -> Reply:
        """Count a request that was begun and return its response; with status 0, its client has disconnected."""
        ...

    def turned_away(self, status: int, code: str) -> Reply:
        """Count a client whose connection is closed, and return the refusal for it."""
        ...


class _Refusal:
    """The response to every simple request to a path that is read in this event loop iteration, and how many it was.

    While the requests of one iteration are read, the queue only grows: once one is refused, all others are.
    """

    __slots__ = ("at", "reply", "requests", "response")

    def __init__(self, reply: Reply, response: bytes, at: float) -> None:
        self.reply = reply
        self.response = response
        self.at = at
        self.requests = 0


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

    _refusals: ClassVar[dict[str, _Refusal]] = {}
    """Of this event loop iteration, by path."""
    _incoming: ClassVar[int] = 0
    """Requests read in this event loop iteration: all are counted here before the first of them is handled."""
    _headers_of_all: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")
    """The headers that uvicorn adds to every response, which it renews every second, and the same as bytes."""
    _out: _Transport
    _between_requests = True
    _in_body = False
    _stopped = False
    """The parser was stopped because of a limit."""
    _upgrade_ignored = False
    _answer: Prediction | None = None
    """To the simple request that is being answered."""
    _held = b""
    """What arrived meanwhile, or while the client does not read."""
    _held_bytes: ClassVar[int] = 0
    """Of all connections."""
    _last = False
    """The connection is closed after the response."""
    _simple_at = float("-inf")
    """When a simple request was last answered."""
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
        self._release()
        if self._answer is not None:
            self._answer.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection, as soon as its request is answered."""
        if self._answer is not None:
            self._last = True
        else:
            super().shutdown()

    def waits(self) -> Wait | None:
        """What this connection waits for from its client, except for the next request, which has a timer."""
        limits = self.opened.limits
        if self.transport.get_write_buffer_size():
            return Wait("reading", None, limits.send_timeout_s)
        cycle: RequestResponseCycle | None = self.cycle
        if self._answer is not None or (cycle is not None and not cycle.response_complete):
            return None
        # A client whose requests were all simple has no cycle, but a timer.
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
            self._out.write(self._response(self.gate.turned_away(status, code)))
            if cycle is not None:
                cycle.disconnected = True
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._answer is not None or (self._between_requests and self.flow.write_paused):
            # One request of a client at a time, and none while it leaves its responses unread.
            self._hold(data)
            return
        if self._between_requests and data.startswith(b"POST /predict"):
            if self._answers_simply(data):
                self._unfinished_bytes = 0
                return
            if not Connection._incoming:
                self.loop.call_soon(self._reset_incoming)
            Connection._incoming += 1
        if len(data) <= _PIECE_BYTES:
            self._parse(data)
            return
        whole = memoryview(data)
        start = 0
        while start < len(whole) and not self.transport.is_closing():
            stop = start + (_BODY_PIECE_BYTES if self._in_body else _PIECE_BYTES)
            self._parse(whole[start:stop])
            start = stop

    def _parse(self, data: bytes | memoryview) -> None:
        self._unfinished_bytes += len(data)
        self._unset_keepalive_if_required()
        # As in uvicorn, but without a line in the log, with which anybody could fill the disk.
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            if self._stopped:
                self._turn_away_for_size()
            else:
                self._turn_away(400, "http_invalid")
            return
        except httptools.HttpParserUpgrade:
            # CONNECT, which the application refuses. What follows it is not parsed, so it is the last request.
            assert self.cycle is not None
            self.cycle.keep_alive = False
            return
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

    def _hold(self, data: bytes) -> None:
        self._held += data
        Connection._held_bytes += len(data)
        self.flow.pause_reading()
        if Connection._held_bytes > _MAX_HELD_BYTES:
            self.transport.abort()

    def _release(self) -> bytes:
        held, self._held = self._held, b""
        Connection._held_bytes -= len(held)
        return held

    def _go_on(self) -> None:
        """Read what was held back."""
        if self._held and self._answer is None and not self.flow.write_paused and not self.transport.is_closing():
            held = self._release()
            self.flow.resume_reading()
            self.data_received(held)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._go_on()

    @staticmethod
    def _reset_incoming() -> None:
        Connection._incoming = 0

    def _answers_simply(self, data: bytes) -> bool:
        """Refuse or begin to answer `data` if it is a simple request; return whether it was one."""
        cycle: RequestResponseCycle | None = self.cycle
        if self.gate is None or self.flow.write_paused or (cycle is not None and not cycle.response_complete):
            return False
        if (simple := read_simple(data)) is None:
            return False
        head, body, rest = simple
        refusal = self._refusals.get(head.path)
        if refusal is None and (reply := self.gate.overloaded(head.path, self._incoming)) is not None:
            refusal = self._refusal_of(head.path, reply)
        if refusal is not None:
            refusal.requests += 1
            given_back = head.given_back
            self._write(self._response(refusal.reply, given_back) if given_back else refusal.response, refusal.at)
            if rest:
                self.loop.call_soon(self._go_on)
                self._hold(rest)
            return True
        if (answer := self.gate.begin(head, body)) is None:
            return False
        self._answer = answer
        if rest:
            self._hold(rest)
        answer.add_done_callback(partial(self._complete, head, perf_counter()))
        return True

    def _refusal_of(self, path: str, reply: Reply) -> _Refusal:
        if not self._refusals:
            self.loop.call_soon(self._count_refusals)
        refusal = self._refusals[path] = _Refusal(reply, self._response(reply), self.loop.time())
        return refusal

    @classmethod
    def _count_refusals(cls) -> None:
        for path, refusal in cls._refusals.items():
            if cls.gate is not None:
                cls.gate.refused(path, refusal.reply, refusal.requests)
        cls._refusals.clear()

    def _complete(self, head: SimpleHead, begun_at: float, answer: Prediction) -> None:
        assert self.gate is not None
        self._answer = None
        reply = self.gate.complete(answer, perf_counter() - begun_at)
        if self.transport.is_closing():
            return
        self._respond(reply, head)
        self.server_state.total_requests += 1
        if self._last:
            self.transport.close()
        else:
            self._go_on()

    def _respond(self, reply: Reply, head: SimpleHead) -> None:
        closing = b"connection: close\r\n" if self._last else b""
        self._write(self._response(reply, head.given_back + closing), self.loop.time())

    def _write(self, response: bytes, at: float) -> None:
        self._out.write_whole(response)
        self._simple_at = at
        if self.timeout_keep_alive_task is None:
            self._schedule_keep_alive(self.timeout_keep_alive)

    def _response(self, reply: Reply, added: bytes = b"") -> bytes:
        of_all = self.server_state.default_headers
        if of_all is not self._headers_of_all[0]:
            Connection._headers_of_all = (of_all, b"".join(b"%s: %s\r\n" % header for header in of_all))
        length = b"content-length: %d\r\n\r\n" % len(reply.body)
        parts = STATUS_LINE[reply.status], self._headers_of_all[1], added, _encoded(reply.headers), length, reply.body
        return b"".join(parts)

    def _schedule_keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        # Simple requests do not reset the timer, which would be a tenth of a refusal's cost.
        left_s = self._simple_at + self.timeout_keep_alive - self.loop.time()
        if self._answer is not None:
            self._schedule_keep_alive(self.timeout_keep_alive)
        elif left_s > 0:
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


@lru_cache(maxsize=256)
def _encoded(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return b"".join(b"%s: %s\r\n" % header for header in headers)
