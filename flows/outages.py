"""Servers that are away for a while: a fit goes on without them, and what follows waits until they are back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import httpx
from prefect.settings import PREFECT_API_URL

from polarity.errors import ServiceUnavailable

POLL_S = 2.0


def is_responding(api: str) -> bool:
    """Return whether a Prefect server responds at `api`."""
    try:
        return httpx.get(f"{api}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def prefect_is_responding() -> bool:
    """Return whether this process's Prefect server responds; the temporary one inside of it always does."""
    api = PREFECT_API_URL.value()
    return api is None or is_responding(api)


def wait_until_back(
    servers: Mapping[str, Callable[[], bool]], *, limit_s: float, note: Callable[[str], object]
) -> None:
    """Wait until all servers respond.

    Parameters
    ----------
    servers : mapping
        Whether each responds, by name.
    limit_s : float
        Seconds after which the wait ends.
    note : callable
        Called with what a user should know, a sentence.

    Raises
    ------
    ServiceUnavailable
        If one is still away after `limit_s`.
    """
    deadline, waiting = time.monotonic() + limit_s, False
    while away := [name for name, responds in servers.items() if not responds()]:
        if time.monotonic() > deadline:
            raise ServiceUnavailable(
                f"{' and '.join(away)} did not respond for {limit_s:g} s. Start it, then run the same command again; "
                "finished steps are kept."
            )
        if not waiting:
            note(f"{' and '.join(away)} does not respond; waiting up to {limit_s:g} s (--faults.outage_s).")
        waiting = True
        time.sleep(POLL_S)
    if waiting:
        note("The servers respond again; going on.")
