"""`python -m ops.deploy`: synchronise the Prefect server with prefect.yaml.

`prefect deploy --all` adds and updates deployments and schedules, but leaves those that were removed from the file
active on the server. This module deletes them.

Exit codes: 0 success; 1 the deployment failed; 2 prefect.yaml contains a mistake. The message says which.
"""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.workers.process import ProcessWorker
from pydantic import BaseModel, ValidationError

from flows.lease import ensure_limit
from ops.server import ensure_server
from ops.service import exit_on_error
from polarity.config.command_line import configure
from polarity.config.sections import Section
from polarity.config.settings import PROJECT
from polarity.errors import ConfigurationError, PolarityError

POOL = "polarity"
FILE = PROJECT / "prefect.yaml"
SCHEDULES: dict[str, type[BaseModel]] = {"cron": CronSchedule, "rrule": RRuleSchedule, "interval": IntervalSchedule}
"""The key by which a schedule in the file is recognised -> what Prefect reads it with."""
REASON_LINES = 20
"""Lines of the output of Prefect's command that are quoted if it fails."""


def deploy(file: Path = FILE) -> list[str]:
    """Create the work pool and the training limit, deploy everything in `file`, and delete the rest.

    Returns
    -------
    list of str
        Descriptions of the deleted deployments and schedules.

    Raises
    ------
    ConfigurationError
        If `file` contains a mistake; then nothing is deployed.
    PolarityError
        If Prefect's command fails.
    """
    wanted = read_deployments(file)
    ensure_limit()
    with get_client(sync_client=True) as client:
        _ensure_pool(client)
        before = {
            (name, *_schedule_on_server(schedule.schedule)): (schedule.active, names_data(found))
            for name, found in _by_name(client).items()
            for schedule in found.schedules
        }
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)
        if done.returncode:
            reason = "\n".join((done.stdout + done.stderr).strip().splitlines()[-REASON_LINES:])
            raise PolarityError(f"`prefect deploy` failed with exit code {done.returncode} on {file}:\n{reason}")
        removed = reconcile(client, wanted)
        for found in _deployments(client):
            expand_profile(client, found)
        _settle_schedules(client, wanted, before)
        return removed


def schedules() -> list[str]:
    """A sentence on every schedule on the server: when it runs, or what it waits for."""
    said = []
    with get_client(sync_client=True) as client:
        for name, found in _by_name(client).items():
            for schedule in found.schedules:
                rule, timezone = _schedule_on_server(schedule.schedule)
                when = f"{name} ({rule}, {timezone})"
                if schedule.active:
                    said.append(f"{when} is active.")
                elif names_data(found):
                    said.append(f"{when} is paused.")
                else:
                    said.append(
                        f"{when} waits for data: set parameters.config.data.path of {name} in {FILE.name}, then run "
                        "`python -m ops.deploy`."
                    )
    return said


def read_deployments(file: Path = FILE) -> list[dict[str, Any]]:
    """Read the deployments in `file`, and check what Prefect would refuse only half-way through.

    Raises
    ------
    ConfigurationError
        If the file is not YAML, lists no deployments, or a schedule or a configuration is invalid.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    found = content.get("deployments") if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ConfigurationError(f"{file} has no list of `deployments`.")
    for number, one in enumerate(found, 1):
        missing = [key for key in ("name", "entrypoint") if not isinstance(one.get(key), str)]
        if missing:
            raise ConfigurationError(f"{file}: deployment {number} has no {missing[0]}.")
        where = f"{file}, deployment {_flow_of(one)}/{one['name']}"
        schedules = one.get("schedules") or []
        if not isinstance(schedules, list):
            raise ConfigurationError(f"{where}: got schedules={schedules!r}; a list is expected.")
        for schedule in schedules:
            _check_schedule(schedule, where)
        given = (one.get("parameters") or {}).get("config")
        model = config_model(one["entrypoint"], where)
        if isinstance(given, dict) and model is not None and "{{" not in str(given):
            try:
                configure(model, given)
            except ConfigurationError as error:
                raise ConfigurationError(f"{where}: {error}") from error
    return found


def config_model(entrypoint: str, where: str = "") -> type[Section] | None:
    """The model of the parameter `config` of a flow; None if it has no such parameter.

    Raises
    ------
    ConfigurationError
        If the flow cannot be imported; the message starts with `where`.
    """
    try:
        flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    except Exception as error:  # whatever a module of the user's raises when it is imported
        raise ConfigurationError(f"{where or 'The deployment'}: {entrypoint} cannot be loaded: {error}") from error
    parameter = inspect.signature(flow.fn, eval_str=True).parameters.get("config")
    model = parameter.annotation if parameter else None
    return model if isinstance(model, type) and issubclass(model, Section) else None


def names_data(deployment: DeploymentResponse) -> bool:
    """Whether a deployment's configuration names tweets of the user's own; True for a flow that takes none."""
    model = config_model(deployment.entrypoint) if deployment.entrypoint else None
    if model is None or "data" not in model.model_fields:
        return True
    data = (deployment.parameters.get("config") or {}).get("data") or {}
    return data.get("path") is not None and data.get("source") != "generated"


def reconcile(client: SyncPrefectClient, wanted: list[dict[str, Any]]) -> list[str]:
    """Delete deployments of our work pool that are not in `wanted`, and schedules that `wanted` does not list."""
    by_name = {f"{_flow_of(one)}/{one['name']}": one for one in wanted}
    removed = []
    for name, found in _by_name(client).items():
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
    model = config_model(deployment.entrypoint) if deployment.entrypoint and "profile" in given else None
    if model is not None:
        whole = model.model_validate(given).model_dump(mode="json")
        client.update_deployment(deployment.id, DeploymentUpdate(parameters={"config": whole}))


def _settle_schedules(
    client: SyncPrefectClient,
    wanted: list[dict[str, Any]],
    before: dict[tuple[str, str, str], tuple[bool, bool]],
) -> None:
    """Activate the schedules of deployments that name data, and pause the others.

    What a person paused stays paused: a schedule that was inactive although its deployment named data.
    """
    in_file = {
        (f"{_flow_of(one)}/{one['name']}", *_schedule_in_file(schedule)): schedule.get("active", True)
        for one in wanted
        for schedule in one.get("schedules") or []
    }
    for name, found in _by_name(client).items():
        for schedule in found.schedules:
            key = (name, *_schedule_on_server(schedule.schedule))
            was_active, named_data = before.get(key, (True, True))
            paused_by_a_person = named_data and not was_active
            active = bool(in_file.get(key, True)) and names_data(found) and not paused_by_a_person
            if schedule.active != active:
                client.update_deployment_schedule(found.id, schedule.id, active=active)


def _check_schedule(schedule: Any, where: str) -> None:
    """Raise ConfigurationError if Prefect would refuse the schedule; what contains a template is left to Prefect."""
    kinds = [kind for kind in SCHEDULES if isinstance(schedule, dict) and schedule.get(kind) is not None]
    if len(kinds) != 1:
        raise ConfigurationError(
            f"{where}: got the schedule {schedule!r}; it must have exactly one of {', '.join(SCHEDULES)}."
        )
    model = SCHEDULES[kinds[0]]
    given = {name: value for name, value in schedule.items() if name in model.model_fields and value is not None}
    if any("{{" in str(value) for value in given.values()):
        return
    try:
        model.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        # Prefect checks an interval's time zone with the whole schedule, and names no field
        name = str(problem["loc"][0]) if problem["loc"] else "timezone"
        raise ConfigurationError(
            f"{where}: got {name}={given.get(name)!r} in a schedule; {problem['msg'].removeprefix('Value error, ')}."
        ) from error


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


def _by_name(client: SyncPrefectClient) -> dict[str, DeploymentResponse]:
    """Our deployments by their full names."""
    return {f"{client.read_flow(found.flow_id).name}/{found.name}": found for found in _deployments(client)}


def _flow_of(deployment: dict[str, Any]) -> str:
    """Return the flow's name, which in this project equals its function's name."""
    return str(deployment["entrypoint"]).rpartition(".")[2]


def _schedule_in_file(schedule: dict[str, Any]) -> tuple[str, str]:
    rule = schedule.get("cron") or schedule.get("rrule") or f"every {float(schedule.get('interval', 0)):g} s"
    return str(rule), str(schedule.get("timezone") or "UTC")


def _schedule_on_server(schedule: Any) -> tuple[str, str]:
    rule = getattr(schedule, "cron", None) or getattr(schedule, "rrule", None)
    return str(rule or f"every {schedule.interval.total_seconds():g} s"), str(schedule.timezone or "UTC")


def main() -> None:
    """Deploy prefect.yaml, starting a server if none is running."""
    with exit_on_error("python -m ops.deploy"):
        read_deployments()  # before a server is started
        ensure_server()
        for removed in deploy():
            print(f"Removed {removed}, which is no longer in prefect.yaml.")
        print("The server matches prefect.yaml.", *schedules(), sep="\n")


if __name__ == "__main__":
    main()
