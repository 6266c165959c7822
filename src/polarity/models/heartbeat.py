"""No silent minute: a fit that is busy with something long says so."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from polarity.models.base import Progress

BEAT_S = 4.0


class Heartbeat:
    """A `Progress` that repeats the last report, with the seconds since, while nothing new comes.

    Importing TensorFlow and tracing a network take many seconds each and
    cannot report themselves.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._last = (0.0, "starting")
        self._since = time.monotonic()

    def __call__(self, fraction: float, message: str, **metrics: float) -> None:
        """Report."""
        with self._lock:
            self._last, self._since = (fraction, message), time.monotonic()
            self._progress(fraction, message, **metrics)

    def __enter__(self) -> Self:
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            with self._lock:
                silent_s = time.monotonic() - self._since
                if silent_s >= BEAT_S / 2 and not self._ended.is_set():
                    fraction, message = self._last
                    self._progress(fraction, f"{message}, {silent_s:.0f} s")
