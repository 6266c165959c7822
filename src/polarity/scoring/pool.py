"""The executor that scores shards: processes on this machine, or an external executor."""

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
    """An executor, the number of shards it scores concurrently, and the threads for each shard."""

    executor: Executor
    slots: int
    threads: int


@contextmanager
def process_pool(processes: int, cores: int) -> Iterator[Pool]:
    """A pool of processes that end with this one.

    Raises
    ------
    ServiceUnavailable
        If one of the processes was killed.
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
            f"A scoring process was killed ({error}). Finished shards are kept; run the same command again to resume."
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)
