"""Where heavy work runs: on this machine, or on Dask workers.

The runner belongs to the configuration of a run, not to the flow: a shell, a schedule and a form can each choose
another, so the flow asks for it here and not in its decorator.
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
from polarity.config.settings import shared_places
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


class Spread(Protocol):
    """A configuration that says where its heavy work runs."""

    @property
    def runner(self) -> str: ...
    @property
    def dask(self) -> DaskConfig: ...


@dataclass(frozen=True)
class Workers:
    """Who takes heavy tasks off the flow; without Dask, the flow's own threads do them."""

    dask: DaskTaskRunner | None = None
    _sent: list[PrefectFuture[Any]] = field(default_factory=list)

    def submit(self, task: Task[..., R], *arguments: Any, gpu: bool = False) -> PrefectFuture[R]:
        """Start a task.

        Parameters
        ----------
        task : Task
            Its module and its arguments must be importable on the workers.
        *arguments
            As the task takes them.
        gpu : bool
            Keep a GPU to itself, where a worker declares one (`--resources GPU=1`).
        """
        if self.dask is None:
            return task.submit(*arguments)
        import dask

        with dask.annotate(resources={GPU: 1}) if gpu and _declares_gpus(self.dask.client) else nullcontext():
            future: PrefectFuture[R] = self.dask.submit(task, call_parameters(task, arguments))
        self._sent.append(future)
        return future

    def lost(self) -> BaseException | None:
        """Why Dask gave a task up, if it did: its worker died every time it was tried, or the scheduler is gone."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        for future in self._sent:
            sent = future.wrapped_future  # type: ignore[attr-defined]  # it is Dask's
            if sent.status == "cancelled":
                cancelled: BaseException = FutureCancelledError(sent.key, "the scheduler is gone")
                return cancelled
            error: BaseException | None = sent.exception() if sent.status == "error" else None
            killed: bool = isinstance(error, KilledWorker)
            if killed:
                return error
        return None


@contextmanager
def workers(config: Spread) -> Iterator[Workers]:
    """Workers for the tasks of a block; those that are started for it end with it.

    Raises
    ------
    ConfigurationError
        If Dask is asked for and not installed, or its workers know other places than this process.
    ServiceUnavailable
        If no scheduler answers, or the workers die of a task.
    """
    if not _wants_dask(config):
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
                    raise _gave_up(cause) from error
                raise


@contextmanager
def pool(config: Spread, processes: int | None = None) -> Iterator[Pool | None]:
    """Dask workers that score shards; none: the processes of this machine do.

    Parameters
    ----------
    config : Spread
    processes : int, optional
        How many workers to start where there is no scheduler. Default: the cores that there are.

    Raises
    ------
    ConfigurationError, ServiceUnavailable
        As `workers` does.
    """
    if not _wants_dask(config):
        yield None
        return
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    with _cluster(config.dask, processes or cores()) as (_, client), client.get_executor() as executor:
        try:
            # one thread a shard: as many shards as the workers have threads are scored at once
            yield Pool(executor, sum(client.nthreads().values()), threads=1)
        except (KilledWorker, FutureCancelledError) as error:
            raise _gave_up(error) from error


def _wants_dask(config: Spread) -> bool:
    if config.runner != "dask":
        if config.dask.address:
            raise ConfigurationError(
                f"Got dask.address={config.dask.address!r} with runner={config.runner!r}; add --runner dask."
            )
        return False
    try:
        import distributed  # noqa: F401
        import prefect_dask  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"Got runner='dask', but {error.name} is not installed: pip install 'polarity[dask]', here and where the "
            "workers run."
        ) from error
    return True


@contextmanager
def _cluster(config: DaskConfig, processes: int) -> Iterator[tuple[SpecCluster | None, Client]]:
    """A client of the scheduler at the configured address, or of a cluster of our own."""
    from distributed import Client

    if config.address is None:
        with _local_cluster(processes) as cluster, Client(cluster, set_as_default=False) as client:
            yield cluster, client
        return
    if not urlsplit(config.address).scheme:
        raise ConfigurationError(f"Got dask.address={config.address!r}; tcp://HOST:PORT is needed.")
    try:
        client = Client(config.address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ServiceUnavailable(
            f"No Dask scheduler answers at {config.address} ({error}). Start one with `python -m dask scheduler`."
        ) from error
    with client:
        _check_places(client, config.address)
        yield None, client


def _local_cluster(processes: int) -> SpecCluster:
    """A worker a core, or a GPU if there are more; each GPU belongs to one of them."""
    from distributed import Nanny, Scheduler, SpecCluster

    present = gpus()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(str(index) for index in range(present))

    def worker(index: int) -> dict[str, Any]:
        # the fits are processes of their own: what a worker may use says nothing of them
        options: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "silence_logs": logging.ERROR}
        if index < present:
            options |= {"resources": {GPU: 1}, "env": {"CUDA_VISIBLE_DEVICES": visible.split(",")[index].strip()}}
        return {"cls": Nanny, "options": options}

    return SpecCluster(
        workers={index: worker(index) for index in range(max(processes, present))},
        scheduler={"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}},
        silence_logs=logging.ERROR,
    )


def _check_places(client: Client, address: str) -> None:
    """Results are handed over as files, so all must know the same places."""
    if not client.nthreads():
        raise ServiceUnavailable(
            f"The Dask scheduler at {address} has no workers. Start some: `python -m dask worker {address}`."
        )
    mine = shared_places()
    for worker, theirs in client.run(shared_places).items():
        if differing := [name for name, place in mine.items() if theirs.get(name) != place]:
            raise ConfigurationError(
                f"The Dask worker {worker} has another {' and another '.join(differing)} than this process; start "
                "it with the same variables, on folders that both see."
            )


def _declares_gpus(client: Client) -> bool:
    # not `scheduler_info`: the client's own refresh, which names no workers, may come in between
    identity = client.sync(client.scheduler.identity, n_workers=-1)
    return any(worker["resources"].get(GPU) for worker in identity["workers"].values())


def _gave_up(error: BaseException) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"Dask gave up ({error}). Look at the logs of the scheduler and the workers, and at their memory; what was "
        "finished is kept, and the same command goes on."
    )
