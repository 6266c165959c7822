"""uvicorn's connection, changed where a busy server feels it: an answer is one write, and a crowd costs little.

uvicorn hands the head and the body of an answer to the system one by one,
which is two calls, two packets, and two wake-ups of the client. And it makes a
task, a scope and an event of every request before anybody can refuse it; a
server that refuses half of what comes would do little else. So a request that
is refused whatever it says is answered as soon as its bytes are there. An
offer to upgrade the protocol, which uvicorn's parser stops at, is ignored.
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

# Only what can be read in one way is answered without the parser: all else goes the usual way.
_SIMPLE = re.compile(rb"POST (/predict(?:/batch)?) HTTP/1\.1((?:\r\n[a-z-]+: ?[!-~ ]*)+)", re.IGNORECASE)
_LENGTH = re.compile(rb"^content-length: ?([0-9]{1,7})\r?$", re.MULTILINE)
# An answer in a language, to another origin (CORS), to a body in pieces, or the last one of a connection.
_SPECIAL = re.compile(
    rb"^(?:accept-language|origin|transfer-encoding|expect|upgrade|connection(?!: ?keep-alive\r?$))", re.MULTILINE
)
UVICORN = "0.54.0"
_MOST_HEAD = 2048
_UVICORNS_KEEP_ALIVE_S, _KEEP_ALIVE_S = 5, 75


class _Transport:
    """A transport that keeps the head of an answer back until the first of the body is there."""

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
        """Send a head that has no body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Parser(httptools.HttpRequestParser):
    """A parser that reads a request whose upgrade is ignored again, without that header.

    llhttp takes whatever follows the head of a request with `Upgrade` for another protocol, even where the server
    stays with HTTP (RFC 9110, 7.8). Java's HttpClient offers h2c with the first request of every connection.
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
    """Knows when there is too much at once."""

    def crowded(self, path: str, coming: int) -> Reply | None:
        """The refusal that any body posted to `path` would get, with so many let in before it on their way."""
        ...

    def refused(self, path: str, reply: Reply) -> None:
        """Count a request that was refused."""
        ...


class Connection(HttpToolsProtocol):
    """One client's connection to the gateway."""

    gate: ClassVar[Gate | None] = None
    """Refuses at once what would be refused whatever its body."""

    _coming: ClassVar[int] = 0
    """What this turn of the event loop has read: all of it comes by here before the first is looked at."""
    _out: _Transport
    _between = True
    _upgrade_ignored = False
    _answered_at = float("-inf")

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.parser = _Parser(self)
        # As uvicorn's own is: what follows `Connection: close` is not an error.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        if self.timeout_keep_alive == _UVICORNS_KEEP_ALIVE_S:
            # Nobody chose it. Load balancers keep an idle connection for a minute, and lose a request if it is
            # closed just when they use it again.
            self.timeout_keep_alive = _KEEP_ALIVE_S

    @classmethod
    def use(cls) -> None:
        """Let every uvicorn of this process that may choose its protocol take this one."""
        uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{cls.__module__}:{cls.__qualname__}"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._out = _Transport(transport)
        super().connection_made(cast(asyncio.Transport, self._out))

    def data_received(self, data: bytes) -> None:
        if self._between and data.startswith(b"POST /predict"):
            if answer := self._at_once(data):
                self._out.write(answer)
                self._answered_at = self.loop.time()
                if self.timeout_keep_alive_task is None:
                    self._wait_for_more(self.timeout_keep_alive)
                return
            if not Connection._coming:
                self.loop.call_soon(self._all_came)
            Connection._coming += 1
        super().data_received(data)

    @staticmethod
    def _all_came() -> None:
        Connection._coming = 0

    def _at_once(self, data: bytes) -> bytes | None:
        """The answer to a request that is refused whatever its body, if `data` is one whole simple request."""
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        head, end, body = data.partition(b"\r\n\r\n")
        path, length = _simple(head) if len(head) <= _MOST_HEAD else ("", 0)
        if not path or not end or length != len(body) or self.gate is None:
            return None
        if (reply := self.gate.crowded(path, self._coming)) is None:
            return None
        self.gate.refused(path, reply)
        line, rest = _raw(reply)
        return b"".join([line, *(b"%s: %s\r\n" % header for header in self.server_state.default_headers), rest])

    def _wait_for_more(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        # Refusals do not set the timer anew, which would be a tenth of what they cost.
        left_s = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._wait_for_more(left_s)
        else:
            super().timeout_keep_alive_handler()

    def on_message_begin(self) -> None:
        self._between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and not self._should_upgrade() and self.parser.get_method() != b"CONNECT":
            # The parser stops here, takes the message for complete, and raises.
            self._upgrade_ignored = True
            return
        super().on_headers_complete()

    def head_without_upgrade(self) -> bytes:
        """The head of the request that the parser has just stopped at, without its upgrade; empty if that is wanted."""
        if not self._upgrade_ignored:
            return b""
        self._upgrade_ignored = False
        line = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        kept = (b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade")
        return b"".join([line, *kept, b"\r\n"])

    def on_message_complete(self) -> None:
        if self._upgrade_ignored:
            return
        self._between = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._out.flush()
        super().on_response_complete()


@lru_cache(maxsize=1024)
def _simple(head: bytes) -> tuple[str, int]:
    """Path and length of the body if nothing about the request is special; else no path. A client's heads are alike."""
    if (request := _SIMPLE.fullmatch(head)) is None:
        return "", 0
    headers = request[2].lower()
    lengths = _LENGTH.findall(headers)
    if len(lengths) != 1 or _SPECIAL.search(headers):
        return "", 0
    return request[1].decode("ascii"), int(lengths[0])


@lru_cache(maxsize=256)
def _raw(reply: Reply) -> tuple[bytes, bytes]:
    """The first line of an answer, and all that comes after the headers that uvicorn gives every answer."""
    head = b"".join(b"%s: %s\r\n" % header for header in reply.headers)
    return STATUS_LINE[reply.status], b"%s\r\n%s" % (head, reply.body)
