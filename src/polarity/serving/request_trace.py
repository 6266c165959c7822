"""The trace of one request: its context, and the calls that were made to answer it."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Literal, NamedTuple

from polarity.serving.trace_context import Correlation, TraceContext

Dependency = Literal["model", "record"]


class Call(NamedTuple):
    """A call to the model or to the record; times are in nanoseconds since 1970."""

    dependency: Dependency
    started_ns: int
    ended_ns: int
    failed: bool


class RequestTrace:
    """Collects what is known of a request while it is answered; if it is recorded, spans are made of it at the end.

    Parameters
    ----------
    client : Correlation
        The client's position in its trace, which also says whether the request is recorded, and its id.
    sampled : bool
        Whether the request is recorded if it begins a trace.
    """

    __slots__ = ("calls", "client", "context", "started_ns")

    def __init__(self, client: Correlation, *, sampled: bool) -> None:
        self.client = client
        self.context = client.parent.child() if client.parent is not None else TraceContext.root(sampled=sampled)
        self.started_ns = time.time_ns()
        self.calls: list[Call] = []

    @property
    def recorded(self) -> bool:
        """Whether the request becomes a span."""
        return self.context.sampled

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The response headers by which the client finds its request again."""
        return self.client.headers(self.context if self.context.sampled else None)

    def called(
        self, dependency: Dependency, seconds: float | None = None, *, ago_s: float = 0.0, failed: bool = False
    ) -> None:
        """Add a call that has ended, just now or some seconds ago; without `seconds`, it began with the request."""
        if self.context.sampled:
            now = time.time_ns() - int(ago_s * 1e9)
            started_ns = self.started_ns if seconds is None else max(self.started_ns, now - int(seconds * 1e9))
            self.calls.append(Call(dependency, started_ns, now, failed))


current_trace: ContextVar[RequestTrace | None] = ContextVar("current_trace", default=None)
"""The trace of the request that the running task answers; `None` without telemetry."""
