"""The workflows of GitHub Actions: linters find nothing, and every step is a script or a target that exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.__main__ import main
from polarity.config.settings import PROJECT

FOLDER = PROJECT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
WORKFLOWS: dict[str, Any] = {file.stem: yaml.safe_load(file.read_text()) for file in FILES}
SCRIPTS = sorted((PROJECT / "deploy").glob("*.sh"))
ACTIONLINT = shutil.which("actionlint", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


def jobs() -> Iterator[tuple[str, Any]]:
    for workflow, content in WORKFLOWS.items():
        for name, job in content["jobs"].items():
            yield f"{workflow}/{name}", job


def steps() -> Iterator[tuple[str, Any]]:
    for name, job in jobs():
        for step in job["steps"]:
            yield f"{name}: {step.get('name', step.get('uses'))}", step


def test_zizmor_finds_nothing() -> None:
    command = [str(Path(sys.executable).parent / "zizmor"), "--offline", "--no-progress", str(FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "No findings" in done.stdout + done.stderr, done.stdout


@pytest.mark.skipif(ACTIONLINT is None, reason="needs actionlint (make lint-workflows installs it)")
def test_actionlint_finds_nothing() -> None:
    done = subprocess.run([str(ACTIONLINT)], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_actions_are_pinned_by_commit() -> None:
    lines = [line for file in FILES for line in file.read_text().splitlines() if "uses:" in line]
    assert lines
    pins = {}
    for line in lines:
        found = re.fullmatch(r"\s+- uses: ([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
        assert found, line
        assert pins.setdefault(found[1], found.groups()) == found.groups(), "one commit for an action"


def test_rights_are_given_job_by_job() -> None:
    assert all(content["permissions"] == {} for content in WORKFLOWS.values())
    writes = {(name, right) for name, job in jobs() for right, level in job["permissions"].items() if level == "write"}
    assert writes == {
        ("deploy/image", "packages"), ("deploy/azure", "id-token"), ("deploy/kubernetes", "id-token")
    }  # fmt: skip
    assert all(job["timeout-minutes"] <= 360 for _, job in jobs())


def test_deployments_never_cross() -> None:
    for name in ("train", "deploy"):
        assert WORKFLOWS[name]["concurrency"]["cancel-in-progress"] is False
    assert WORKFLOWS["deploy"]["concurrency"]["group"] == "deploy-${{ inputs.target }}"


def test_secrets_are_in_the_environment_of_one_step() -> None:
    for name, step in steps():
        rest = {key: value for key, value in step.items() if key != "env"}
        assert "secrets." not in str(rest), name
        # a value of GitHub's in a script would be a place for somebody else's code
        assert "${{" not in step.get("run", ""), name


def test_each_step_runs_something_of_the_repository() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    plain = {"Log in to the registry", "Credentials of the cluster, which last as long as the log-in"}
    for name, step in steps():
        if "run" not in step or step.get("name") in plain:
            continue
        words = step["run"].split()
        if words[0] == "make":
            assert words[1] in targets, name
        elif words[:3] == ["python", "-m", "deploy"]:
            continue
        else:
            scripts = [word for word in words if word.startswith("deploy/")]
            assert scripts and all(PROJECT / script in SCRIPTS for script in scripts), name


@pytest.mark.parametrize("target", ["webapp", "cluster"])
def test_the_commands_of_the_workflow_are_known(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = [step["run"] for _, step in steps() if f"deploy {target} up" in step.get("run", "")]
    given = [word.strip('"').replace("$", "") for word in command.split()[3:]]
    # the programs that do the work are not on this path, so nothing is asked of anybody
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        assert main(given) == 1
    assert "No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_can_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)
