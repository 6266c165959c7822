"""How this project uses Prefect: tasks that retry transient errors, time out, and fail with a readable message.

Uses some Prefect internals; tests/unit/test_adapters.py fails when the pinned version changes.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from prefect import Task, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.tasks import exponential_backoff
from prefect.utilities.callables import get_call_parameters

from polarity.config.sections import FaultConfig
from polarity.errors import ArtifactError, ConfigurationError, DataRejected, PolarityError, ProcessKilled
from polarity.pipeline.faults import after_a_kill, as_polarity_error, worth_retrying

P = ParamSpec("P")
R = TypeVar("R")

PREFECT = "3.8.8"

EXPECTED = (ConfigurationError, DataRejected, ArtifactError)
"""Errors that the user can fix with different options, different data or a different folder."""


def translate_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Turn a known error into a Failed state whose message says what to do, without logging a traceback."""

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
    """Define a task: retried with backoff and jitter if its error is transient, never cached by Prefect.

    The fingerprint of a step (`polarity.pipeline.step`) decides what may be reused.

    Parameters
    ----------
    name : str, optional
        Defaults to the function's name.
    limited : bool
        Whether a task whose arguments include a configuration with `faults` times out after its `step_timeout_s`.
    **options
        Passed on to Prefect's `task`.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        return task(  # type: ignore[no-any-return,call-overload]  # options are passed as a dictionary
            translate_errors(_with_memory_of_kills(_limited(function) if limited else function)),
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
    """Return the results of the last of several stages of dependent tasks.

    Raises
    ------
    Exception
        The first failure of the earliest stage; the tasks that depend on it only report that they did not run.
    """
    return [[future.result() for future in stage] for stage in stages][-1]


def as_cached(result: R, *, cached: bool) -> R:
    """Return `result` to Prefect, wrapped in a state named Cached if it came from the store."""
    if not cached:
        return result
    message = "Nothing that this step depends on has changed."
    return Completed(name="Cached", message=message, data=result)  # type: ignore[return-value]  # Prefect takes states


def call_parameters(task: Task[..., Any], arguments: Sequence[Any]) -> dict[str, Any]:
    """Map arguments to parameter names, as a task runner expects them."""
    return get_call_parameters(task.fn, tuple(arguments), {})


def limit_of(*arguments: object) -> float | None:
    """Return the timeout in seconds from the first argument that is, or holds, a configuration with `faults`."""
    for argument in arguments:
        faults = getattr(getattr(argument, "config", argument), "faults", None)
        if isinstance(faults, FaultConfig):
            return faults.step_timeout_s
    return None


def within(limit_s: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function` in a separate thread, with this thread's context, and wait at most `limit_s` seconds.

    Prefect's own timeout cannot interrupt a threaded task that is blocked on a disk, a server or a child process, which
    is when a timeout is needed. Here the caller continues; the hanging thread is a daemon and ends with the process.

    Raises
    ------
    PolarityError
        If the call times out. This is not retried: what hangs once usually hangs again.
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
            raise  # the function's own TimeoutError
        raise PolarityError(
            f"The step timed out after {limit_s:g} s. If it only needs more time, raise --faults.step_timeout_s; "
            "otherwise check what it is waiting for (a disk, a server). Finished steps are kept."
        ) from error


_killed_by: dict[str, str] = {}
"""The signal that killed the process of the previous try, by task run. All tries of a task run are in one process."""


def _with_memory_of_kills(function: Callable[P, R]) -> Callable[P, R]:
    """End the retries of a task whose process is killed by the same signal twice in a row."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        task_run = str(runtime.task_run.id)
        before = _killed_by.pop(task_run, None)
        try:
            return function(*args, **kwargs)
        except ProcessKilled as error:
            known = after_a_kill(error, before)
            if known is error:
                _killed_by[task_run] = error.signal
                raise
            raise known from error

    return wrapper


def _limited(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        limit_s = limit_of(*args, *kwargs.values())
        return function(*args, **kwargs) if limit_s is None else within(limit_s, function, *args, **kwargs)

    return wrapper


async def _retry(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    error = await state.aresult(raise_on_failure=False)
    return worth_retrying(error if isinstance(error, BaseException) else None)
