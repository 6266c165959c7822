"""The machine that a latency was measured on."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from polarity.inference.placement import cores

CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """What latencies depend on besides the model: they are comparable only on equal machines.

    Parameters
    ----------
    processor : str
        Model name of the processor.
    cores : int
        Cores that this process may use.
    threads : int
        Threads within one call of a model.
    """

    processor: str
    cores: int
    threads: int

    @classmethod
    def here(cls) -> Self:
        """This machine, with a thread for each core that this process may use."""
        return cls(_processor(), cores(), cores())

    def __str__(self) -> str:
        return f"{self.processor}, {_counted(self.cores, 'core')}, {_counted(self.threads, 'thread')}"


def _processor() -> str:
    """The model name, e.g. `AMD EPYC 7B13`; only the architecture where the kernel does not give the name."""
    try:
        lines = CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    fields = (line.partition(":") for line in lines)
    names = (value.strip() for field, _, value in fields if field.strip() == "model name")
    return next(names, "") or platform.processor() or platform.machine()


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
