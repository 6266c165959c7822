"""POST /predict/stream: JSON lines in and JSON lines out, in order, each as soon as it is answered.

Nothing is read from the client before what it has sent is answered, and nothing is answered before the client has
read: a stream of any length takes the memory of one piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

import msgspec

from bentos.asgi import Message, Receive, Send
from polarity.serving.contract import Contract, Headers, Refused, requested_language
from polarity.serving.rules import message

STREAM = "/predict/stream"
CONTENT_TYPE = b"application/x-ndjson"
MAX_LINE_BYTES = 64 * 1024
"""More than any accepted text takes, with each character escaped."""
LINES_AT_ONCE = 256


class Lines:
    """The complete lines of a body that arrives in pieces; blank ones are left out."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._kept_bytes = 0
        self._too_long = False

    def feed(self, piece: bytes, *, last: bool) -> list[bytes | None]:
        """Return the lines that are complete now; None for one of more than `MAX_LINE_BYTES`.

        Parameters
        ----------
        piece : bytes
        last : bool
            Whether the body ends here, and with it the last line.
        """
        first, *others = piece.split(b"\n")
        self._keep(first)
        complete: list[bytes | None] = []
        for part in others:
            complete += self._take()
            self._keep(part)
        return [*complete, *self._take()] if last else complete

    def _keep(self, part: bytes) -> None:
        """Keep a part of a line, unless the line is too long: of that one nothing is kept."""
        self._kept_bytes += len(part)
        if self._kept_bytes > MAX_LINE_BYTES:
            self._pieces, self._too_long = [], True
        elif part:
            self._pieces.append(part)

    def _take(self) -> list[bytes | None]:
        """The line that ends here; none if it is blank."""
        line, too_long = b"".join(self._pieces), self._too_long
        self._pieces, self._kept_bytes, self._too_long = [], 0, False
        if too_long:
            return [None]
        return [line] if line.strip() else []


async def answer_stream(
    contract: Contract,
    headers: Headers,
    receive: Receive,
    send: Send,
    *,
    response_headers: list[tuple[bytes, bytes]],
    timeout_s: float,
    answered: Callable[[float], None],
) -> None:
    """Answer the lines of a body.

    Parameters
    ----------
    response_headers : list of (bytes, bytes)
        Of the response, besides its type.
    timeout_s : float
        Maximum time without a byte from the client, after which the stream ends with a line that says so.
    answered : callable
        Called with the seconds that each bunch of lines took.

    Raises
    ------
    Refused
        If the body is compressed, or nothing arrives in time; there is no response then.
    """
    if any(name == b"content-encoding" and value.strip().lower() != b"identity" for name, value in headers):
        raise Refused(415, "stream_encoded", (b"accept-encoding", b"identity"), (b"connection", b"close"))
    lines, started, more = Lines(), False, True
    while more:
        try:
            async with asyncio.timeout(timeout_s):
                received: Message = await receive()
        except TimeoutError:
            if not started:
                raise Refused(408, "body_too_slow", (b"connection", b"close")) from None
            found, more = [], False
            problem = msgspec.json.encode({"error": message("body_too_slow", requested_language(headers))})
            await send({"type": "http.response.body", "body": problem + b"\n", "more_body": True})
        else:
            if received["type"] == "http.disconnect":
                return
            more = received.get("more_body", False)
            found = lines.feed(received.get("body", b""), last=not more)
        if not started:
            started = True
            # The client may stop in the middle of its body: nothing else can follow on this connection.
            own = [(b"content-type", CONTENT_TYPE), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 200, "headers": [*own, *response_headers]})
        for first in range(0, len(found), LINES_AT_ONCE):
            began = perf_counter()
            answers = await contract.predict_lines(found[first : first + LINES_AT_ONCE], headers)
            answered(perf_counter() - began)
            await send({"type": "http.response.body", "body": answers, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
