"""`python -m ops.server`: start a local Prefect server in the background, if none answers."""

import sys

from prefect.settings import PREFECT_API_URL, PREFECT_HOME

from flows.terminal import LOCAL_SERVER, answers
from ops.service import Service


def local_server() -> Service:
    """The Prefect server of this machine, where Prefect's own settings have it."""
    return Service("prefect", (sys.executable, "-m", "prefect", "server", "start"), lambda: answers(LOCAL_SERVER))


def ensure_server() -> str:
    """The address of a Prefect server that answers: the configured one, or a local one that is started if need be.

    Raises
    ------
    SystemExit
        If none answers in time.
    """
    configured = PREFECT_API_URL.value()
    api = configured or LOCAL_SERVER
    if answers(api):
        print(f"A Prefect server answers at {api}.")
        return api
    if configured:
        sys.exit(f"No Prefect server answers at {api} (PREFECT_API_URL). Start it, or unset the variable.")
    print("Starting a local Prefect server ...", flush=True)
    home = PREFECT_HOME.value()
    try:
        home.mkdir(parents=True, exist_ok=True)  # the server does not start without it
    except OSError as error:
        sys.exit(f"Prefect's home {home} (PREFECT_HOME) cannot be made: {error}.")
    local_server().start()
    print(f"It answers at {api}; `make stop` stops it.")
    return api


if __name__ == "__main__":
    ensure_server()
