"""Something that is read from one end to the other, telling how far the reader is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

REPORT_EVERY_S = 1.0


class Watched(Generic[T]):
    """Items to read, once or several times.

    Parameters
    ----------
    items : sequence
        What is read.
    report : callable
        Called about every second with how many times the items were read, e.g. 1.5.
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
