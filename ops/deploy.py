"""`python -m ops.deploy`: synchronise the Prefect server with prefect.yaml.

`prefect deploy --all` adds and updates deployments and schedules, but leaves those that were removed from the file
active on the server. This module deletes them.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from flows.lease import ensure_limit
from ops.server import ensure_server
from polarity.config.settings import PROJECT
from polarity.pipeline.config import TrainConfig

POOL = "polarity"
FILE = PROJECT / "prefect.yaml"


def deploy(file: Path = FILE) -> list[str]:
    """Create the work pool and the training limit, deploy everything in `file`, and delete the rest.

    Returns
    -------
    list of str
        Descriptions of the deleted deployments and schedules.
    """
    ensure_limit()
    with get_client(sync_client=True) as client:
        _ensure_pool(client)
        subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)],
            cwd=PROJECT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wanted = yaml.safe_load(file.read_text())["deployments"]
        removed = reconcile(client, wanted)
        for found in _deployments(client):
            expand_profile(client, found)
        return removed


def reconcile(client: SyncPrefectClient, wanted: list[dict[str, Any]]) -> list[str]:
    """Delete deployments of our work pool that are not in `wanted`, and schedules that `wanted` does not list."""
    by_name = {f"{_flow_of(one)}/{one['name']}": one for one in wanted}
    removed = []
    for found in _deployments(client):
        name = f"{client.read_flow(found.flow_id).name}/{found.name}"
        if name not in by_name:
            client.delete_deployment(found.id)
            removed.append(f"the deployment {name}")
            continue
        expected = [_schedule_in_file(schedule) for schedule in by_name[name].get("schedules") or []]
        for schedule in found.schedules:
            actual = _schedule_on_server(schedule.schedule)
            if actual in expected:
                expected.remove(actual)
            else:
                client.delete_deployment_schedule(found.id, schedule.id)
                removed.append(f"the schedule {actual[0]} of {name}")
    return removed


def expand_profile(client: SyncPrefectClient, deployment: DeploymentResponse) -> None:
    """Write the full configuration into a deployment that names a profile.

    The UI's run form fills parameters missing from the deployment with the model's defaults and submits them, which
    would override the profile.
    """
    given = deployment.parameters.get("config") or {}
    if "profile" in given:
        whole = TrainConfig.model_validate(given).model_dump(mode="json")
        client.update_deployment(deployment.id, DeploymentUpdate(parameters={"config": whole}))


def _ensure_pool(client: SyncPrefectClient) -> None:
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        try:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
        except ObjectAlreadyExists:
            return  # another process created it first


def _deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    ours = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))
    return list(client.read_deployments(work_pool_filter=ours))


def _flow_of(deployment: dict[str, Any]) -> str:
    """Return the flow's name, which in this project equals its function's name."""
    return str(deployment["entrypoint"]).rpartition(".")[2]


def _schedule_in_file(schedule: dict[str, Any]) -> tuple[str, str]:
    rule = schedule.get("cron") or schedule.get("rrule") or f"every {float(schedule.get('interval', 0)):g} s"
    return str(rule), str(schedule.get("timezone") or "UTC")


def _schedule_on_server(schedule: Any) -> tuple[str, str]:
    rule = getattr(schedule, "cron", None) or getattr(schedule, "rrule", None)
    return str(rule or f"every {schedule.interval.total_seconds():g} s"), str(schedule.timezone or "UTC")


if __name__ == "__main__":
    ensure_server()
    for removed in deploy():
        print(f"Removed {removed}, which is no longer in prefect.yaml.")
    print("The server matches prefect.yaml.")
