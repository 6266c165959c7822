"""Progress of a fit: reports, a heartbeat while it is busy, and a count of the items read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

T = TypeVar("T")

BEAT_S = 4.0
REPORT_EVERY_S = 1.0


class Progress(Protocol):
    """Callback for the progress of a fit. Called at least once per epoch, and every few seconds in a long epoch."""

    def __call__(self, fraction: float, message: str, **metrics: float) -> None:
        """Report that `fraction` (0 to 1) of the fit is done, with `metrics` such as epoch or loss."""
        ...


class Heartbeat:
    """A `Progress` that repeats the last report with its age in seconds while no new one arrives.

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


class CountedReads(Generic[T]):
    """A sequence that reports how far it has been read, over one or more passes.

    Parameters
    ----------
    items : sequence
        The items to read.
    report : callable
        Called about every second with the number of passes so far, e.g. 1.5.
    """

    def __init__(self, items: Sequence[T], report: Callable[[float], None]) -> None:
        self._items = items
        self._report = report
        self._read = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        last = time.monotonic()
        for item in self._items:
            self._read += 1
            if time.monotonic() - last > REPORT_EVERY_S:
                last = time.monotonic()
                self._report(self._read / len(self._items))
            yield item
