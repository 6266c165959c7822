"""`python -m ops.server`: start a local Prefect server in the background, unless one is running."""

import sys

from prefect.settings import PREFECT_API_URL

from flows.outages import is_responding
from flows.terminal import LOCAL_SERVER, prefect_home
from ops.service import Service, exit_on_error


def local_server() -> Service:
    """Return the local Prefect server, at the address in Prefect's settings."""
    return Service("prefect", (sys.executable, "-m", "prefect", "server", "start"), lambda: is_responding(LOCAL_SERVER))


def ensure_server() -> str:
    """Return the address of a running Prefect server: the configured one, or a local one, started if necessary.

    Raises
    ------
    SystemExit
        If the configured server does not respond, or the local one does not start in time.
    ConfigurationError
        If Prefect's home folder has a name that its database cannot have.
    """
    configured = PREFECT_API_URL.value()
    api = configured or LOCAL_SERVER
    if is_responding(api):
        print(f"A Prefect server is already running at {api}.")
        return api
    if configured:
        sys.exit(f"No Prefect server responds at {api} (PREFECT_API_URL). Start one there, or unset the variable.")
    home = prefect_home()
    print("Starting a local Prefect server ...", flush=True)
    try:
        home.mkdir(parents=True, exist_ok=True)  # the server does not start if it is missing
    except OSError as error:
        sys.exit(f"Prefect's home folder {home} (PREFECT_HOME) cannot be created: {error}.")
    local_server().start()
    print(f"The Prefect server is running at {api}; `make stop` stops it.")
    return api


if __name__ == "__main__":
    with exit_on_error("python -m ops.server"):
        ensure_server()
