"""Count a server process's requests by the minute."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

from polarity.record import durations
from polarity.record.answer import Traffic

_SECONDS_PER_MINUTE = 60
_SERVER_ERROR, _CLIENT_ERROR, _OVERLOADED = 500, 400, 429


class TrafficCounter:
    """Hands over the counts of each minute when it has passed; minutes without requests too, as a sign of life.

    Parameters
    ----------
    hand_over : callable
        Takes the counts of a minute.
    """

    def __init__(self, hand_over: Callable[[Traffic], None]) -> None:
        self._hand_over = hand_over
        self._process = secrets.token_hex(6)
        self._current = self._new()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Hand over from now on, on the running event loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_SECONDS_PER_MINUTE - time.time() % _SECONDS_PER_MINUTE, self._next)

    def count(self, status: int, seconds: float) -> None:
        """Count one answered request."""
        current = self._current
        current.requests += 1
        if status >= _CLIENT_ERROR:
            if status >= _SERVER_ERROR:
                current.errors += 1
            else:
                current.refused += 1
            if status == _OVERLOADED:
                current.overloaded += 1
                return
        current.seconds[durations.bucket_of(seconds)] += 1

    def challenged(self, seconds: float | None) -> None:
        """Count one request that the challenger was asked: its duration, or None if it had to be covered for."""
        current = self._current
        current.challenged += 1
        if seconds is None:
            current.covered += 1
            return
        if not current.challenger_seconds:
            current.challenger_seconds = durations.empty()
        current.challenger_seconds[durations.bucket_of(seconds)] += 1

    def stop(self) -> None:
        """Hand over the minute that is not over yet."""
        if self._timer is not None:
            self._timer.cancel()
        self._hand_over(self._current)
        self._current = self._new()

    def _next(self) -> None:
        self._hand_over(self._current)
        self._current = self._new()
        self.start()

    def _new(self) -> Traffic:
        minute = int(time.time() // _SECONDS_PER_MINUTE)
        # Two parts of one minute, before and after a stop, are two rows.
        return Traffic(f"{self._process}-{minute}-{secrets.token_hex(2)}", minute, 0, 0, 0, 0, durations.empty())
