"""What ties a request to its client's records: W3C trace context and the client's own request id."""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import getrandbits
from typing import NamedTuple

SAMPLED = 1
# Later versions may append fields; of the flags only "sampled" and "random trace id" have a meaning yet.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_KNOWN_FLAGS = 0b11
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")


class TraceContext(NamedTuple):
    """The position of a request in a distributed trace (https://www.w3.org/TR/trace-context/)."""

    trace_id: int
    span_id: int
    flags: int

    @classmethod
    def parse(cls, value: bytes) -> TraceContext | None:
        """Read a `traceparent` header; `None` if it is not a valid one, so that the request begins a trace."""
        if (given := _TRACEPARENT.fullmatch(value)) is None or (given[1] == b"00" and given[5]):
            return None
        context = cls(int(given[2], 16), int(given[3], 16), int(given[4], 16) & _KNOWN_FLAGS)
        return context if context.trace_id and context.span_id else None

    @classmethod
    def root(cls, *, sampled: bool) -> TraceContext:
        """A new trace."""
        return cls(getrandbits(128) or 1, new_span_id(), SAMPLED if sampled else 0)

    def child(self) -> TraceContext:
        """A new span of this trace."""
        return TraceContext(self.trace_id, new_span_id(), self.flags)

    @property
    def sampled(self) -> bool:
        """Whether the caller records this trace."""
        return bool(self.flags & SAMPLED)

    def header(self) -> bytes:
        """The value of `traceparent`."""
        return b"00-%032x-%016x-%02x" % self


def new_span_id() -> int:
    """A random span id; 0 is not one."""
    return getrandbits(64) or 1


class Correlation(NamedTuple):
    """What the client sent to find its request again: its trace, and an id of its own."""

    parent: TraceContext | None = None
    request_id: bytes | None = None

    def headers(self, context: TraceContext | None = None) -> tuple[tuple[bytes, bytes], ...]:
        """The response headers that give it back; `context` is that of the request's span if there is one."""
        context = context or self.parent
        trace = ((b"traceparent", context.header()),) if context is not None else ()
        return (*trace, (b"x-request-id", self.request_id)) if self.request_id is not None else trace


_NONE = Correlation()


def correlation(headers: Iterable[tuple[bytes, bytes]]) -> Correlation:
    """Read the headers `traceparent` and `x-request-id`.

    A header that occurs twice counts as malformed, and a malformed one as absent. A request id is well-formed if it
    has at most 128 characters, all of them visible ASCII.
    """
    parents, request_ids = [], []
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value.strip())
        elif name == b"x-request-id":
            request_ids.append(value.strip())
    if not parents and not request_ids:
        return _NONE
    request_id = request_ids[0] if len(request_ids) == 1 and _REQUEST_ID.fullmatch(request_ids[0]) else None
    return Correlation(TraceContext.parse(parents[0]) if len(parents) == 1 else None, request_id)
