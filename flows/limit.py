"""A limit on the time of a step.

Prefect's own timeout cannot stop a task in a thread while it waits for a disk, a server or a child process, which is
when a limit is needed; here whoever waits goes on, and what hangs is left behind and ends with the process.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

from polarity.errors import PolarityError
from polarity.sections import FaultConfig

P = ParamSpec("P")
R = TypeVar("R")


def limit_of(*arguments: object) -> float | None:
    """Seconds that a step may take, by the configuration among its arguments or in one of them."""
    for argument in arguments:
        faults = getattr(getattr(argument, "config", argument), "faults", None)
        if isinstance(faults, FaultConfig):
            return faults.step_timeout_s
    return None


def within(limit_s: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function` in a thread of its own, with this thread's context, and wait for so long.

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
