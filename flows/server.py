"""`python -m flows.server`: start a local Prefect server in the background, if none answers."""

import subprocess
import sys
import time

from prefect.settings import PREFECT_API_URL

from flows.terminal import LOCAL_SERVER, answers

PATIENCE_S = 90


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
    subprocess.run(
        [sys.executable, "-m", "prefect", "server", "start", "--background"], check=True, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + PATIENCE_S
    while not answers(api):
        if time.monotonic() > deadline:
            sys.exit(f"The Prefect server did not answer at {api} within {PATIENCE_S} s; is its port taken?")
        time.sleep(0.5)
    print(f"It answers at {api}; `make stop` stops it.")
    return api


if __name__ == "__main__":
    ensure_server()
