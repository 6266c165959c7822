"""The files that guide contributors are valid, and name what is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import polarity
from polarity.config.settings import PROJECT

HOOKS = PROJECT / ".pre-commit-config.yaml"
FORMS = sorted((PROJECT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
MAKEFILE = (PROJECT / "Makefile").read_text()


def test_hooks_are_local_and_are_those_of_lint(tmp_path: Path) -> None:
    """Each hook is a line of `make lint`, or `make lint` itself, and nothing is fetched."""
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(HOOKS)]
    subprocess.run(command, check=True, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    found = re.search(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found
    lint = [line.split() for line in found[1].splitlines()]
    for repository in yaml.safe_load(HOOKS.read_text())["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            words = hook["entry"].removeprefix(".venv/bin/").split()
            program = words[:2] if words[0] in ("ruff", "make") else words[:1]
            assert words == ["make", "lint"] or any(line[: len(program)] == program for line in lint), hook


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_issue_forms_are_valid(form: Path) -> None:
    kind = "config" if form.name == "config.yml" else "forms"
    subprocess.run(["check-jsonschema", "--builtin-schema", f"vendor.github-issue-{kind}", str(form)], check=True)


def test_the_dev_container_runs_commands_that_are_there() -> None:
    lines = (PROJECT / ".devcontainer" / "devcontainer.json").read_text().splitlines()
    container = json.loads("\n".join(line for line in lines if not line.lstrip().startswith("//")))
    script, _, make = (part.strip() for part in container["postCreateCommand"].split("&&"))
    assert (PROJECT / script).is_file()
    for target in make.split()[1:]:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_the_versions_agree() -> None:
    """The version of the sources is that of the package and of the citation."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "polarity.__version__"}
    assert yaml.safe_load((PROJECT / "CITATION.cff").read_text())["version"] == polarity.__version__
