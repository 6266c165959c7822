"""Resource usage of a process and its children."""

from __future__ import annotations

from contextlib import suppress

import psutil


def family(pid: int) -> list[psutil.Process]:
    """The process and all its children."""
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def cpu_s(pid: int) -> float:
    """Return the CPU seconds used so far by a process and its children."""
    used = 0.0
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system
    return used


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its children; processes that have just ended count as 0."""
    size = 0
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            size += process.memory_info().rss
    return size
