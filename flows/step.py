"""How this project uses Prefect: tasks that retry what is worth it, and fail in words."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.tasks import exponential_backoff

from flows.limit import limit_of, within
from polarity import disk
from polarity.errors import ArtifactError, ConfigurationError, DataRejected, PolarityError
from polarity.retries import worth_retrying
from polarity.steps import Work
from polarity.store import Stored, open_store

P = ParamSpec("P")
R = TypeVar("R")

EXPECTED = (ConfigurationError, DataRejected, ArtifactError)
"""What whoever started the run can mend by other options, other data or another folder."""


def in_words(function: Callable[P, R]) -> Callable[P, R]:
    """End a failure that we know as a Failed state that says what to do, without a logged traceback."""

    @functools.wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (PolarityError, OSError) as error:
            known = disk.told(error) if isinstance(error, OSError) else error
            if known is None:
                raise
            return Failed(message=str(known), data=known)  # type: ignore[return-value]  # Prefect takes states

    return told


def _limited(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def ended(*args: P.args, **kwargs: P.kwargs) -> R:
        limit_s = limit_of(*args, *kwargs.values())
        return function(*args, **kwargs) if limit_s is None else within(limit_s, function, *args, **kwargs)

    return ended


async def _retry(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    error = await state.aresult(raise_on_failure=False)
    return worth_retrying(error if isinstance(error, BaseException) else None)


def step(name: str, *, limited: bool = True, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A task of ours: retried with backoff and jitter if its error is worth it, and never cached by Prefect.

    What may be reused is decided by the fingerprint of the work (`polarity.store`); see `reuse`. A step that gets a
    configuration with `faults` ends after its `step_timeout_s`, unless it has a limit of its own (`limited` is false).
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        return task(
            in_words(_limited(function) if limited else function),
            name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            **{
                "retries": 2,
                "retry_delay_seconds": exponential_backoff(2),
                "retry_jitter_factor": 0.5,
                "retry_condition_fn": _retry,
                **options,
            },
        )

    return decorate


def results(*stages: Sequence[PrefectFuture[R]]) -> list[R]:
    """The results of the last stage of tasks that depend on one another.

    Raises
    ------
    Exception
        The first failure of the earliest stage: what depends on it only says that it did not run.
    """
    return [[future.result() for future in stage] for stage in stages][-1]


def reuse(work: Work) -> Stored:
    """The result of `work`, from the store if nothing that it depends on has changed."""
    return open_store().run(work.fingerprint, work.write)


def outcome(result: R, stored: Stored) -> R:
    """Give `result` to Prefect: as a state named Cached if the store had it."""
    if not stored.cached:
        return result
    message = "Nothing that this step depends on has changed."
    return Completed(name="Cached", message=message, data=result)  # type: ignore[return-value]  # Prefect takes states
