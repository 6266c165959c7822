from __future__ import annotations

import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from ops import deploy
from ops.deploy import FILE, read_deployments
from polarity.errors import ConfigurationError, PolarityError


def written(folder: Path, change: dict[str, object]) -> Path:
    """prefect.yaml with other values in its first deployment, `train/nightly`."""
    content = yaml.safe_load(FILE.read_text())
    content["deployments"][0] |= change
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_the_file_of_the_project_is_read() -> None:
    assert {one["name"] for one in read_deployments()} == {
        "nightly",
        "on-drift",
        "on-demand",
        "each-minute",
        "each-hour",
    }


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"cron": "30 2 * * *", "timezone": "Europe/Pariss"}, "timezone='Europe/Pariss' in a schedule; Invalid"),
        ({"interval": 60, "timezone": "Mars"}, "timezone='Mars' in a schedule; Invalid timezone"),
        ({"rrule": "FREQ=DAILY", "timezone": "Mars"}, "timezone='Mars' in a schedule; Invalid timezone"),
        ({"cron": "30 99 * * *"}, "cron='30 99 * * *' in a schedule; Invalid cron string"),
        ({"cron": 5}, "cron=5 in a schedule; Input should be a valid string"),
        ({"interval": 0}, "interval=0 in a schedule; Input should be greater than 0 seconds"),
        ({"rrule": "FREQ=DAILYY"}, "rrule='FREQ=DAILYY' in a schedule; Invalid RRule string"),
        ({"crom": "30 2 * * *"}, "{'crom': '30 2 * * *'}; it must have exactly one of cron, rrule, interval"),
        ("daily", "'daily'; it must have exactly one of"),
    ],
)  # fmt: skip
def test_a_wrong_schedule_is_refused_with_the_deployment_and_the_value(
    tmp_path: Path, schedule: object, message: str
) -> None:
    file = written(tmp_path, {"schedules": [schedule]})
    with pytest.raises(ConfigurationError) as refusal:
        read_deployments(file)
    assert f"{file}, deployment train/nightly: got " in str(refusal.value)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    "schedule",
    [
        {"cron": "@daily", "active": False, "slug": "daily"},
        {"cron": "{{ $CRON }}"},
        {"interval": 3600, "anchor_date": "2026-01-01T00:00:00+00:00", "timezone": "Europe/Paris"},
    ],
)
def test_a_valid_schedule_is_accepted(tmp_path: Path, schedule: object) -> None:
    assert read_deployments(written(tmp_path, {"schedules": [schedule]}))[0]["schedules"] == [schedule]


def test_a_wrong_configuration_is_refused_with_the_deployment(tmp_path: Path) -> None:
    file = written(tmp_path, {"parameters": {"config": {"profile": "demo", "data": {"pathh": "x"}}}})
    with pytest.raises(ConfigurationError, match=r"train/nightly: there is no option data\.pathh"):
        read_deployments(file)


@pytest.mark.parametrize(
    ("entrypoint", "config", "message"),
    [
        ("flows.tune.tune", {"profile": "demo", "search": {"trials": 3}}, None),
        ("flows.tune.tune", {"profile": "demo", "select": {"margin": 0}}, "there is no option select"),
        ("flows.train.train", {"search": {"trials": 3}}, "there is no option search"),
        ("flows.score.score", {"workers": 2}, None),
        ("flows.score.score", {"labels": ["a", "b"]}, "there is no option labels"),
        ("flows.evaluate.evaluate", {"max_bad_share": 2}, "max_bad_share: got 2"),
        ("flows.training.train", {}, r"flows\.training\.train cannot be loaded"),
    ],
)
def test_a_configuration_is_checked_with_the_model_of_its_own_flow(
    tmp_path: Path, entrypoint: str, config: dict[str, object], message: str | None
) -> None:
    file = written(tmp_path, {"entrypoint": entrypoint, "parameters": {"config": config}})
    if message is None:
        assert read_deployments(file)
    else:
        with pytest.raises(ConfigurationError, match=message):
            read_deployments(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("deployments:\n  - cron: * * * * *\n", "line 2"),
        ("name: polarity\n", "no list of `deployments`"),
        ("", "no list of `deployments`"),
        ("deployments:\n  - name: nightly\n", "deployment 1 has no entrypoint"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=message) as refusal:
        read_deployments(file)
    assert str(file) in str(refusal.value)


def test_the_command_exits_with_code_2_before_it_starts_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, {"schedules": [{"cron": "30 2 * * *", "timezone": "Europe/Pariss"}]})
    monkeypatch.setattr(read_deployments, "__defaults__", (file,))
    monkeypatch.setattr(deploy, "ensure_server", lambda: pytest.fail("a server was started"))
    with pytest.raises(SystemExit) as done:
        deploy.main()
    assert done.value.code == 2
    assert "Europe/Pariss" in capsys.readouterr().err


def test_a_failure_of_prefects_command_shows_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr="a traceback\nValueError: the reason\n")
    monkeypatch.setattr(deploy, "ensure_limit", lambda: None)
    monkeypatch.setattr(deploy, "get_client", lambda **_: nullcontext())
    monkeypatch.setattr(deploy, "_ensure_pool", lambda _: None)
    monkeypatch.setattr(deploy, "_by_name", lambda _: {})
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(PolarityError, match="ValueError: the reason"):
        deploy.deploy(written(tmp_path, {}))
