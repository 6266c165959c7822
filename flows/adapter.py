"""How this project uses Prefect: tasks that retry what is worth it, end in time, and fail in words.

Also the inside of Prefect that the flows reach into; tests/unit/test_adapters.py fails when its version moves.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.tasks import exponential_backoff
from prefect.utilities.callables import get_call_parameters

from polarity.config.sections import FaultConfig
from polarity.errors import ArtifactError, ConfigurationError, DataRejected, PolarityError
from polarity.pipeline.faults import as_polarity_error, worth_retrying

P = ParamSpec("P")
R = TypeVar("R")

PREFECT = "3.8.8"

EXPECTED = (ConfigurationError, DataRejected, ArtifactError)
"""What the user can mend by other options, other data or another folder."""


def translate_errors(function: Callable[P, R]) -> Callable[P, R]:
    """End a failure that we know as a Failed state that says what to do, without a logged traceback."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (PolarityError, OSError) as error:
            known = as_polarity_error(error) if isinstance(error, OSError) else error
            if known is None:
                raise
            return Failed(message=str(known), data=known)  # type: ignore[return-value]  # Prefect takes states

    return wrapper


def polarity_task(
    name: str | None = None, *, limited: bool = True, **options: Any
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A task of ours: retried with backoff and jitter if its error is worth it, and never cached by Prefect.

    What may be reused is decided by the fingerprint of a step (`polarity.pipeline.step`).

    Parameters
    ----------
    name : str, optional
        Default: the function's.
    limited : bool
        End a task that gets a configuration with `faults` after its `step_timeout_s`.
    **options
        As Prefect's `task` takes them.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        return task(  # type: ignore[no-any-return,call-overload]  # options come as a dictionary
            translate_errors(_limited(function) if limited else function),
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


def as_cached(result: R, *, cached: bool) -> R:
    """Give `result` to Prefect: as a state named Cached if the store had it."""
    if not cached:
        return result
    message = "Nothing that this step depends on has changed."
    return Completed(name="Cached", message=message, data=result)  # type: ignore[return-value]  # Prefect takes states


def call_parameters(task: Task[..., Any], arguments: Sequence[Any]) -> dict[str, Any]:
    """Arguments by name, as a task runner takes them."""
    return get_call_parameters(task.fn, tuple(arguments), {})


def limit_of(*arguments: object) -> float | None:
    """Seconds that a task may take, by the configuration among its arguments or in one of them."""
    for argument in arguments:
        faults = getattr(getattr(argument, "config", argument), "faults", None)
        if isinstance(faults, FaultConfig):
            return faults.step_timeout_s
    return None


def within(limit_s: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function` in a thread of its own, with this thread's context, and wait for so long.

    Prefect's own timeout cannot stop a task in a thread while it waits for a disk, a server or a child process, which
    is when a limit is needed; here the caller goes on, and what hangs is left behind and ends with the process.

    Raises
    ------
    PolarityError
        If it has not ended by then. Not worth a retry: whatever hangs goes on hanging.
    """
    ended: Future[R] = Future()

    def work() -> None:
        try:
            ended.set_result(function(*args, **kwargs))
        except BaseException as error:
            ended.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), daemon=True).start()
    try:
        return ended.result(limit_s)
    except TimeoutError as error:
        if ended.done():
            raise  # its own
        raise PolarityError(
            f"It did not end within {limit_s:g} s, so it was given up. If it only needs longer, raise "
            "--faults.step_timeout_s; else see what it waits for (a disk, a server). What is finished is kept."
        ) from error


def _limited(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        limit_s = limit_of(*args, *kwargs.values())
        return function(*args, **kwargs) if limit_s is None else within(limit_s, function, *args, **kwargs)

    return wrapper


async def _retry(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    error = await state.aresult(raise_on_failure=False)
    return worth_retrying(error if isinstance(error, BaseException) else None)
