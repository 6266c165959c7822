"""What a process and its children use."""

from __future__ import annotations

from contextlib import suppress

import psutil


def _family(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def cpu_s(pid: int) -> float:
    """Processor seconds of a process and its children so far."""
    used = 0.0
    for process in _family(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system
    return used


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its children; one that has just ended has none."""
    size = 0
    for process in _family(pid):
        with suppress(psutil.NoSuchProcess):
            size += process.memory_info().rss
    return size
