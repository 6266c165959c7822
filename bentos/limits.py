"""Limits of the gateway's connections: how many, from whom, and how long they may keep the server waiting.

A timer that looks at every connection once in a while replaces one timer per
request and stage: nothing is set up, cancelled or measured while requests are
answered.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Hashable
from ipaddress import IPv6Address, IPv6Network
from typing import NamedTuple, Protocol

import msgspec

# Files, pipes and sockets of the process that are not clients' connections; 40 were seen.
_OTHER_DESCRIPTORS = 96
_CLIENTS_SHARE = 0.75
_DEFAULT_PER_CLIENT = 1024


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the connections of one process.

    Attributes
    ----------
    head_timeout_s : float
        Maximum time for the head of a request to arrive, and for the first one to begin.
    body_timeout_s : float
        Maximum time for the rest of a body that is read but not used, because the response did not depend on it.
    send_timeout_s : float
        Maximum time during which a client leaves (part of) its responses unread.
    max_connections : int
        Maximum number of open connections.
    max_connections_per_client : int or None
        Maximum number per address. Default: 1,024, and at most three quarters of `max_connections`.
    grace_s : float
        Maximum time for which open requests delay the end of the process.
    """

    head_timeout_s: float = 10.0
    body_timeout_s: float = 10.0
    send_timeout_s: float = 30.0
    max_connections: int = 4096
    max_connections_per_client: int | None = None
    grace_s: float = 30.0

    def within_descriptors(self) -> ConnectionLimits:
        """A copy for the number of file descriptors that the process may open, which is raised if it can be.

        A server without descriptors accepts nobody, not even to say so.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self.max_connections + _OTHER_DESCRIPTORS
        if 0 <= soft < wanted:
            soft = wanted if hard < 0 else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        room = self.max_connections if soft < 0 else max(1, soft - _OTHER_DESCRIPTORS)
        return msgspec.structs.replace(self, max_connections=min(self.max_connections, room))

    @property
    def per_client(self) -> int:
        """Maximum number of connections per address."""
        return self.max_connections_per_client or max(
            1, min(_DEFAULT_PER_CLIENT, int(_CLIENTS_SHARE * self.max_connections))
        )


class Wait(NamedTuple):
    """What a connection waits for from its client; equal as long as it is the same thing."""

    what: str
    request: Hashable
    timeout_s: float


class Watched(Protocol):
    """A connection as its limits see it."""

    def waits(self) -> Wait | None:
        """What the connection waits for from its client."""
        ...

    def expire(self, wait: Wait) -> None:
        """End the connection, because it has waited too long."""
        ...


class OpenConnections:
    """The open connections of one process, counted by client, and closed if they keep it waiting."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._clients: dict[Watched, str | None] = {}
        self._per_client: Counter[str] = Counter()
        self._waits: dict[Watched, tuple[Wait, float]] = {}
        shortest_s = min(limits.head_timeout_s, limits.body_timeout_s, limits.send_timeout_s)
        self._interval_s = min(1.0, shortest_s / 4)
        self._watching = False

    def __len__(self) -> int:
        return len(self._clients)

    def admit(self, connection: Watched, host: str | None) -> bool:
        """Count a new connection from `host`, unless that would exceed a limit."""
        client = _client(host)
        if len(self._clients) >= self.limits.max_connections or (
            client is not None and self._per_client[client] >= self.limits.per_client
        ):
            return False
        self._clients[connection] = client
        if client is not None:
            self._per_client[client] += 1
        if not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_later(self._interval_s, self._watch)
        return True

    def leave(self, connection: Watched) -> None:
        """Count a closed connection no longer; those that were not admitted are ignored."""
        if connection not in self._clients:
            return
        client = self._clients.pop(connection)
        self._waits.pop(connection, None)
        if client is not None:
            self._per_client[client] -= 1
            if not self._per_client[client]:
                del self._per_client[client]

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._clients):
            wait = connection.waits()
            if wait is None:
                self._waits.pop(connection, None)
                continue
            last, since = self._waits.get(connection, (None, now))
            if wait != last:
                self._waits[connection] = (wait, now)
            elif now - since >= wait.timeout_s:
                connection.expire(wait)
        self._watching = bool(self._clients)
        if self._watching:
            loop.call_later(self._interval_s, self._watch)


def _client(host: str | None) -> str | None:
    """What is counted as one client: an IPv4 address, or an IPv6 network of 64 bits; unknown for a Unix socket."""
    if host is None or ":" not in host:
        return host or None
    address = IPv6Address(host)
    return str(address.ipv4_mapped or IPv6Network((address.packed[:8] + bytes(8), 64)))
