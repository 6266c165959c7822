"""`python -m ops.ui [stop [--force]]`: Prefect with a worker, MLflow and the pages of the runs, in the background.

Services that are already running are left alone.
"""

import os
import sys
from urllib.parse import urlsplit

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import WorkerStatus
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.terminal import LOCAL_SERVER
from ops.deploy import POOL, deploy, read_deployments, schedules
from ops.in_progress import confirm_stop
from ops.server import ensure_server, local_server
from ops.service import Service, exit_on_error
from polarity.config.settings import PROJECT, settings
from polarity.registry.tracking import ensure_experiment


def services() -> list[Service]:
    """Return the services that run alongside the Prefect server."""
    here, mlflow = settings(), urlsplit(settings().mlflow_ui_url)
    python = (sys.executable, "-m")
    return [
        Service(
            "worker",
            (*python, "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "polarity"),
            _worker_is_online,
        ),
        Service(
            "mlflow",
            (
                *python,
                "mlflow",
                "server",
                "--workers",
                "1",
                "--host",
                mlflow.hostname or "127.0.0.1",
                "--port",
                str(mlflow.port or 80),
            ),
            lambda: _is_responding(f"{here.mlflow_ui_url}/health"),
            {
                "MLFLOW_BACKEND_STORE_URI": here.tracking_uri,
                "MLFLOW_DEFAULT_ARTIFACT_ROOT": here.artifact_root,
                # Eight more processes, which judge the answers of language models.
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
        ),
        Service("pages", (*python, "ops.pages"), lambda: _is_responding(f"{here.ui_url}/runs/")),
    ]


def start() -> None:
    """Start all services, deploy, and print the addresses."""
    read_deployments()  # mistakes in the file and in the folders are found before anything is started
    planned = services()
    api = ensure_server()
    here = settings()
    here.runs_folder.mkdir(parents=True, exist_ok=True)
    # Creates the tables first, so that the server and the worker do not race to do it.
    experiment = ensure_experiment(here.tracking_uri)
    environment = {
        "PREFECT_API_URL": api,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")])),
    }
    with temporary_settings({PREFECT_API_URL: api}):
        os.environ["PREFECT_API_URL"] = api
        for removed in deploy():
            print(f"Removed {removed}, which is no longer in prefect.yaml.")
        schedule_remarks = schedules()
        for service in planned:
            service.start(environment)
    print(
        f"\n  Prefect   {api.removesuffix('/api')}/deployments\n"
        f"  MLflow    {here.mlflow_ui_url}/#/experiments/{experiment}/runs\n"
        f"  Runs      {here.ui_url}/runs/\n"
        f"  Page      {here.page_url}   (started by `make page`, talks to `make serve`)\n",
        *schedule_remarks,
        "`make stop` stops all of them but the page.",
        sep="\n",
    )


def stop(*, force: bool = False) -> None:
    """Stop what `start` and `ops.server` started; with flow runs in progress only if that is confirmed, or forced.

    Raises
    ------
    SystemExit
        If it is not confirmed, or nobody can be asked.
    """
    if not force:
        confirm_stop(PREFECT_API_URL.value() or LOCAL_SERVER)
    for service in [*services(), local_server()]:
        if service.stop():
            print(f"Stopped {service.name}.")


def _is_responding(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def _worker_is_online() -> bool:
    with get_client(sync_client=True) as client:
        return any(worker.status == WorkerStatus.ONLINE for worker in client.read_workers_for_work_pool(POOL))


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            with exit_on_error("python -m ops.ui"):
                start()
        case ["stop"]:
            with exit_on_error("python -m ops.ui"):
                stop()
        case ["stop", "--force"]:
            with exit_on_error("python -m ops.ui"):
                stop(force=True)
        case _:
            sys.exit("Usage: python -m ops.ui [stop [--force]]")
