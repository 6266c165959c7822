"""Where heavy work runs: on this machine, or on Dask workers.

The runner is an option of a run: a command line, a schedule and a form in the UI can each choose a different one.
The flow therefore creates it here rather than in its decorator.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from prefect import Task
from prefect.futures import PrefectFuture

from flows.adapter import call_parameters
from polarity.config.sections import DaskConfig
from polarity.config.settings import shared_settings
from polarity.errors import ConfigurationError, ServiceUnavailable
from polarity.inference.placement import cores
from polarity.scoring.pool import Pool
from polarity.serving.topology import gpus

if TYPE_CHECKING:
    from distributed import Client, SpecCluster
    from prefect_dask import DaskTaskRunner

R = TypeVar("R")
GPU = "GPU"
CONNECT_S = 10.0


class RunnerOptions(Protocol):
    """A configuration that selects where heavy work runs."""

    @property
    def runner(self) -> str: ...
    @property
    def dask(self) -> DaskConfig: ...


@dataclass(frozen=True)
class Workers:
    """Runs heavy tasks, on Dask if configured and in the flow's own threads otherwise."""

    dask: DaskTaskRunner | None = None
    _sent: list[PrefectFuture[Any]] = field(default_factory=list)

    def submit(self, task: Task[..., R], *arguments: Any, gpu: bool = False) -> PrefectFuture[R]:
        """Submit a task.

        Parameters
        ----------
        task : Task
            Its module and the classes of its arguments must be importable on the workers.
        *arguments
            The positional arguments of the task.
        gpu : bool
            Reserve a GPU for the task, if any worker declares one (`--resources GPU=1`).
        """
        if self.dask is None:
            return task.submit(*arguments)
        import dask

        with dask.annotate(resources={GPU: 1}) if gpu and _declares_gpus(self.dask.client) else nullcontext():
            future: PrefectFuture[R] = self.dask.submit(task, call_parameters(task, arguments))
        self._sent.append(future)
        return future

    def lost(self) -> BaseException | None:
        """Return why Dask gave up on a task, if it did: its workers kept dying, or the scheduler is gone."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        for future in self._sent:
            sent = future.wrapped_future  # type: ignore[attr-defined]  # a Dask future
            if sent.status == "cancelled":
                cancelled: BaseException = FutureCancelledError(sent.key, "the scheduler is gone")
                return cancelled
            error: BaseException | None = sent.exception() if sent.status == "error" else None
            killed: bool = isinstance(error, KilledWorker)
            if killed:
                return error
        return None


@contextmanager
def workers(config: RunnerOptions) -> Iterator[Workers]:
    """Provide workers for the tasks of a block; workers started for the block are stopped at its end.

    Raises
    ------
    ConfigurationError
        If Dask is requested but not installed, or its workers use different folders from this process.
    ServiceUnavailable
        If no scheduler responds, or a task keeps killing its workers.
    """
    if not _uses_dask(config):
        yield Workers()
        return
    from prefect_dask import DaskTaskRunner

    with _cluster(config.dask, cores()) as (cluster, client):
        runner = DaskTaskRunner(cluster) if cluster else DaskTaskRunner(address=client.scheduler.address)
        with runner:
            heavy = Workers(runner)
            try:
                yield heavy
            except Exception as error:
                if cause := heavy.lost():
                    raise _dask_failure(cause) from error
                raise


@contextmanager
def pool(config: RunnerOptions, processes: int | None = None) -> Iterator[Pool | None]:
    """Provide Dask workers that score shards, or None if local processes should do it.

    Parameters
    ----------
    config : RunnerOptions
    processes : int, optional
        Number of workers to start if no scheduler is configured. Defaults to the number of cores.

    Raises
    ------
    ConfigurationError, ServiceUnavailable
        As for `workers`.
    """
    if not _uses_dask(config):
        yield None
        return
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    with _cluster(config.dask, processes or cores()) as (_, client), client.get_executor() as executor:
        try:
            # one thread per shard, so the number of concurrent shards is the workers' total number of threads
            yield Pool(executor, sum(client.nthreads().values()), threads=1)
        except (KilledWorker, FutureCancelledError) as error:
            raise _dask_failure(error) from error


def _uses_dask(config: RunnerOptions) -> bool:
    if config.runner != "dask":
        if config.dask.address:
            raise ConfigurationError(
                f"dask.address is {config.dask.address!r}, but runner is {config.runner!r}; add --runner dask."
            )
        return False
    try:
        import distributed  # noqa: F401
        import prefect_dask  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"runner is 'dask', but {error.name} is not installed; run pip install 'polarity[dask]' here and on the "
            "workers."
        ) from error
    return True


@contextmanager
def _cluster(config: DaskConfig, processes: int) -> Iterator[tuple[SpecCluster | None, Client]]:
    """Connect to the scheduler at the configured address, or start a local cluster."""
    from distributed import Client

    if config.address is None:
        with _local_cluster(processes) as cluster, Client(cluster, set_as_default=False) as client:
            yield cluster, client
        return
    if not urlsplit(config.address).scheme:
        raise ConfigurationError(f"dask.address is {config.address!r}; it must have the form tcp://HOST:PORT.")
    try:
        client = Client(config.address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ServiceUnavailable(
            f"No Dask scheduler responds at {config.address} ({error}). Start one with `python -m dask scheduler`."
        ) from error
    with client:
        _check_shared_folders(client, config.address)
        yield None, client


def _local_cluster(processes: int) -> SpecCluster:
    """Create a cluster with one worker per process or GPU, whichever is more; each GPU is assigned to one worker."""
    from distributed import Nanny, Scheduler, SpecCluster

    present = gpus()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(str(index) for index in range(present))

    def worker(index: int) -> dict[str, Any]:
        # no memory limit: fits run in separate processes, which a limit on the worker does not cover
        options: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "silence_logs": logging.ERROR}
        if index < present:
            options |= {"resources": {GPU: 1}, "env": {"CUDA_VISIBLE_DEVICES": visible.split(",")[index].strip()}}
        return {"cls": Nanny, "options": options}

    return SpecCluster(
        workers={index: worker(index) for index in range(max(processes, present))},
        scheduler={"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}},
        silence_logs=logging.ERROR,
    )


def _check_shared_folders(client: Client, address: str) -> None:
    """Check that all workers use the same folders: results are passed as files."""
    if not client.nthreads():
        raise ServiceUnavailable(
            f"The Dask scheduler at {address} has no workers. Start one with `python -m dask worker {address}`."
        )
    mine = shared_settings()
    for worker, theirs in client.run(shared_settings).items():
        if differing := [name for name, folder in mine.items() if theirs.get(name) != folder]:
            raise ConfigurationError(
                f"The Dask worker {worker} has a different {' and a different '.join(differing)} from this process; "
                "start it with the same environment variables, set to folders that both can access."
            )


def _declares_gpus(client: Client) -> bool:
    # not `scheduler_info`: the client's periodic refresh, which omits the workers, may have overwritten it
    identity = client.sync(client.scheduler.identity, n_workers=-1)
    return any(worker["resources"].get(GPU) for worker in identity["workers"].values())


def _dask_failure(error: BaseException) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"Dask gave up on a task ({error}). Check the logs and the memory of the scheduler and the workers, then run "
        "the same command again; finished work is kept."
    )
