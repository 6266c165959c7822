"""Who scores shards: processes of this machine, or an executor of somebody else's."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass

from polarity.errors import ServiceUnavailable
from polarity.pipeline.isolation import die_with_parent


@dataclass(frozen=True)
class Pool:
    """An executor, how many shards it scores side by side, and the threads of each."""

    executor: Executor
    slots: int
    threads: int


@contextmanager
def process_pool(processes: int, cores: int) -> Iterator[Pool]:
    """Processes that end with this one.

    Raises
    ------
    ServiceUnavailable
        If one of them was killed.
    """
    executor = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=die_with_parent,
        initargs=(os.getpid(),),
    )
    try:
        yield Pool(executor, processes, max(1, cores // processes))
    except BrokenProcessPool as error:
        raise ServiceUnavailable(
            f"A process that scores was killed ({error}). The shards that are done are kept; the same command goes on."
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)
