"""Deployments on a real Prefect server: those in the file exist, and all others are deleted."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.events import emit_event

from flows.lease import TRAINING, ensure_limit, one_training
from ops.deploy import FILE, POOL, deploy, schedules
from polarity.config.sections import DataConfig, RecentConfig, RetrainConfig
from polarity.pipeline.config import TrainConfig, TuneConfig
from tests.integration.servers import until

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(600)]


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def deployments(client: SyncPrefectClient) -> dict[str, Any]:
    return {f"{client.read_flow(one.flow_id).name}/{one.name}": one for one in client.read_deployments()}


def test_server_is_synchronised_with_the_file(client: SyncPrefectClient, tmp_path: Path) -> None:
    assert deploy() == []
    there = deployments(client)
    assert set(there) == {
        "train/nightly", "train/on-drift", "score/on-demand", "evaluate/on-demand", "feedback/on-demand",
        "monitor/each-minute", "tune/on-demand", "collect/each-hour", "train/on-demand",
    }  # fmt: skip
    assert {one.work_pool_name for one in there.values()} == {POOL}
    nightly = there["train/nightly"]
    assert [(one.schedule.cron, one.schedule.timezone) for one in nightly.schedules] == [("30 2 * * *", "Europe/Paris")]
    # the run form shows the profile's values, not the model's defaults
    assert TrainConfig.model_validate(nightly.parameters["config"]) == TrainConfig(
        profile="standard", data=DataConfig(recent=RecentConfig(enabled=True))
    )
    assert set(nightly.parameters["config"]) == set(TrainConfig.model_fields)
    properties = there["score/on-demand"].parameter_openapi_schema["definitions"]["ScoreConfig"]["properties"]
    assert "default: by family" in properties["shard_rows"]["description"].lower()
    assert "kill" in properties["shard_rows"]["description"]
    automations = client.request("POST", "/automations/filter", json={}).json()
    assert [one["trigger"]["expect"] for one in automations] == [["polarity.drift"]]
    check_that_drift_starts_training(client)
    check_that_the_scheduler_plans(client)

    changed = yaml.safe_load(FILE.read_text())
    del changed["deployments"][0]["schedules"]
    del changed["deployments"][1]["triggers"]
    del changed["deployments"][3]
    file = FILE.with_name(".prefect-test.yaml")  # the command resolves entrypoints relative to the file
    try:
        file.write_text(yaml.safe_dump(changed))
        assert sorted(deploy(file)) == ["the deployment evaluate/on-demand", "the schedule 30 2 * * * of train/nightly"]
    finally:
        file.unlink()
    there = deployments(client)
    assert set(there) == {
        "train/nightly", "train/on-drift", "score/on-demand", "feedback/on-demand", "monitor/each-minute",
        "tune/on-demand", "collect/each-hour", "train/on-demand",
    }  # fmt: skip
    assert there["train/nightly"].schedules == []
    assert client.request("POST", "/automations/filter", json={}).json() == []


@pytest.mark.soak
def test_a_schedule_waits_for_data_and_stays_paused_by_a_person(client: SyncPrefectClient) -> None:
    def nightly(content: dict[str, Any], *, path: str | None) -> Any:
        """Deploy with this path of the data; return the schedule of `train/nightly`."""
        config = {"profile": "standard", **({"data": {"path": path}} if path else {})}
        content["deployments"][0]["parameters"] = {"config": config}
        file.write_text(yaml.safe_dump(content))
        deploy(file)
        (schedule,) = deployments(client)["train/nightly"].schedules
        return schedule

    content = yaml.safe_load(FILE.read_text())
    content["deployments"] = content["deployments"][:1]  # Prefect takes two seconds for each
    file = FILE.with_name(".prefect-test.yaml")
    try:
        assert not nightly(content, path=None).active
        (remark,) = schedules()
        assert "train/nightly (30 2 * * *, Europe/Paris) waits for data: set parameters.config.data.path" in remark
        assert nightly(content, path="tweets.csv").active
        assert schedules() == ["train/nightly (30 2 * * *, Europe/Paris) is active."]
        nightly(content, path="tweets.csv")
        set_active(client, active=False)
        assert not nightly(content, path="other.csv").active, "a person paused it"
        assert schedules() == ["train/nightly (30 2 * * *, Europe/Paris) is paused."]
        set_active(client, active=True)
        content["deployments"][0]["schedules"][0]["active"] = False
        assert not nightly(content, path="tweets.csv").active, "the file says so"
    finally:
        file.unlink()


def check_that_the_scheduler_plans(client: SyncPrefectClient) -> None:
    """A schedule is worth what the server makes of it: flow runs for the next minutes."""
    each_minute = DeploymentFilter(name=DeploymentFilterName(any_=["each-minute"]))
    until(lambda: len(client.read_flow_runs(deployment_filter=each_minute)) >= 3, 90, message="nothing was scheduled")


def set_active(client: SyncPrefectClient, *, active: bool) -> None:
    """What the switch of a schedule in the UI does."""
    nightly = deployments(client)["train/nightly"]
    client.update_deployment_schedule(nightly.id, nightly.schedules[0].id, active=active)


@pytest.mark.soak
def test_a_tune_deployment_with_a_profile_shows_its_own_options(client: SyncPrefectClient) -> None:
    content = yaml.safe_load(FILE.read_text())
    tune = next(one for one in content["deployments"] if one["entrypoint"] == "flows.tune.tune")
    tune["parameters"] = {"config": {"profile": "demo", "models": ["logistic"], "search": {"trials": 2}}}
    file = FILE.with_name(".prefect-test.yaml")
    try:
        file.write_text(yaml.safe_dump(content))
        deploy(file)
    finally:
        file.unlink()
    found = deployments(client)["tune/on-demand"]
    expected = TuneConfig.model_validate(tune["parameters"]["config"])
    assert TuneConfig.model_validate(found.parameters["config"]) == expected
    assert found.parameters["config"]["search"]["trials"] == 2
    run = client.create_flow_run_from_deployment(found.id)
    assert TuneConfig.model_validate(run.parameters["config"]) == expected


def check_that_drift_starts_training(client: SyncPrefectClient) -> None:
    """The event creates a run of `train/on-drift`, which waits for a worker; another event soon after it does not."""
    of_drift = DeploymentFilter(name=DeploymentFilterName(any_=["on-drift"]))
    assert client.read_flow_runs(deployment_filter=of_drift) == []
    deadline = time.monotonic() + 120
    while not (runs := client.read_flow_runs(deployment_filter=of_drift)):
        assert time.monotonic() < deadline, "the event started nothing"
        emit_event("polarity.drift", resource={"prefect.resource.id": "polarity.champion"})
        time.sleep(2)  # an event that arrives before the trigger is registered starts nothing
    assert TrainConfig.model_validate(runs[0].parameters["config"]) == TrainConfig(
        profile="standard",
        data=DataConfig(recent=RecentConfig(enabled=True)),
        retrain=RetrainConfig(if_it_pays=True),
    )
    emit_event("polarity.drift", resource={"prefect.resource.id": "polarity.champion"})
    time.sleep(4)
    assert len(client.read_flow_runs(deployment_filter=of_drift)) == 1, "two at once would both find that it pays"


def test_training_runs_never_overlap(client: SyncPrefectClient) -> None:
    ensure_limit()
    ensure_limit()
    assert client.read_global_concurrency_limit_by_name(TRAINING).limit == 1
    inside: list[str] = []
    context = contextvars.copy_context()  # carries the Prefect settings

    def second() -> None:
        with one_training():
            inside.append("second")

    with one_training():
        inside.append("first")
        thread = threading.Thread(target=context.run, args=(second,))
        thread.start()
        time.sleep(3)
        assert inside == ["first"]
    thread.join(120)
    assert inside == ["first", "second"]
    for _ in range(100):
        if not client.read_global_concurrency_limit_by_name(TRAINING).active_slots:
            break
        time.sleep(0.1)
    assert client.read_global_concurrency_limit_by_name(TRAINING).active_slots == 0
