"""The flow runs in progress, and the question before they lose their server."""

from __future__ import annotations

import platform
import sys
import time

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.outages import is_responding

POLL_S = 2.0
FORCE = "`make stop FORCE=1` stops everything at once; networks continue from their last checkpoint in the next run."


def runs_in_progress(api: str) -> list[FlowRun]:
    """Return the flow runs that a Prefect server lists as running, without those whose process on this machine is gone.

    A server that does not respond has none.
    """
    if not is_responding(api):
        return []
    running = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING]))
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        return [
            run for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=running)) if _may_be_alive(run)
        ]


def confirm_stop(api: str) -> None:
    """Return if no flow run is in progress, or once the user agrees to stop, or has waited for them to end.

    Raises
    ------
    SystemExit
        If the user does not agree, or there is no terminal to ask at.
    """
    runs = runs_in_progress(api)
    if not runs:
        return
    print(f"In progress: {', '.join(_described(run) for run in runs)}.", file=sys.stderr)
    if not sys.stdin.isatty():
        sys.exit(f"Nothing was stopped, since there is no terminal to ask at. {FORCE}")
    match input("Stop anyway (y), wait until they have ended (w), or leave everything as it is (Enter)? ").strip():
        case "y" | "Y":
            return
        case "w" | "W":
            print(f"Waiting. {FORCE}", flush=True)
            while runs_in_progress(api):
                time.sleep(POLL_S)
        case _:
            sys.exit("Nothing was stopped.")


def _may_be_alive(run: FlowRun) -> bool:
    """Whether the process of a run may still be there; a run from a shell does not say which one it is."""
    host, _, pid = (run.infrastructure_pid or "").rpartition(":")
    return host != platform.node() or not pid.isdigit() or psutil.pid_exists(int(pid))


def _described(run: FlowRun) -> str:
    since = f" since {run.start_time.astimezone():%H:%M}" if run.start_time else ""
    return f"{run.name}{since}"
