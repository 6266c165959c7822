"""`python -m ops.deploy`: make the Prefect server agree with prefect.yaml.

`prefect deploy --all` adds and changes; what is not in the file any more it leaves on the server, where it
would go on running. That is taken away here.
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
    """Create the work pool and the training limit, deploy all that `file` names, and take away what it does not.

    Returns
    -------
    list of str
        What was taken away, in words.
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
        gone = reconcile(client, wanted)
        for found in _deployments(client):
            spell_out(client, found)
        return gone


def reconcile(client: SyncPrefectClient, wanted: list[dict[str, Any]]) -> list[str]:
    """Delete deployments of our pool that are not in `wanted`, and schedules that their deployment does not name."""
    by_name = {f"{_flow_of(one)}/{one['name']}": one for one in wanted}
    gone = []
    for found in _deployments(client):
        name = f"{client.read_flow(found.flow_id).name}/{found.name}"
        if name not in by_name:
            client.delete_deployment(found.id)
            gone.append(f"the deployment {name}")
            continue
        left = [_of_file(schedule) for schedule in by_name[name].get("schedules") or []]
        for schedule in found.schedules:
            told = _of_server(schedule.schedule)
            if told in left:
                left.remove(told)
            else:
                client.delete_deployment_schedule(found.id, schedule.id)
                gone.append(f"the schedule {told[0]} of {name}")
    return gone


def spell_out(client: SyncPrefectClient, deployment: DeploymentResponse) -> None:
    """Write the whole configuration into a deployment that names a profile.

    The form for a run shows the model's defaults for whatever the deployment leaves open, and sends them: a
    profile would be overruled by them.
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
            return  # somebody else was quicker


def _deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    ours = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))
    return list(client.read_deployments(work_pool_filter=ours))


def _flow_of(deployment: dict[str, Any]) -> str:
    """The flow's name, which this project keeps the same as its function's."""
    return str(deployment["entrypoint"]).rpartition(".")[2]


def _of_file(schedule: dict[str, Any]) -> tuple[str, str]:
    rule = schedule.get("cron") or schedule.get("rrule") or f"every {float(schedule.get('interval', 0)):g} s"
    return str(rule), str(schedule.get("timezone") or "UTC")


def _of_server(schedule: Any) -> tuple[str, str]:
    rule = getattr(schedule, "cron", None) or getattr(schedule, "rrule", None)
    return str(rule or f"every {schedule.interval.total_seconds():g} s"), str(schedule.timezone or "UTC")


if __name__ == "__main__":
    ensure_server()
    for what in deploy():
        print(f"Took away {what}, which prefect.yaml does not name any more.")
    print("The server agrees with prefect.yaml.")
