"""A family's name stands in its own file and in the configuration's defaults, nowhere else."""

from __future__ import annotations

import ast
from pathlib import Path

from polarity.config.settings import PROJECT
from polarity.families.registry import families, models

# Defaults of `--models`, which determine what is trained by default.
ALLOWED = {"src/polarity/pipeline/config.py"}


def test_no_code_outside_the_families_names_one() -> None:
    names = {*families(), *models(), *(model.replace("-", "_") for model in models())}
    found = [
        f"{path.relative_to(PROJECT)}:{node.lineno}: {node.value!r}"
        for folder in ("src", "flows", "bentos", "ops")
        for path in sorted((PROJECT / folder).rglob("*.py"))
        if "families" not in path.parts and path.relative_to(PROJECT).as_posix() not in ALLOWED
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert found == [], "declare a trait of the family (polarity.inference.traits) and ask for that"


def test_the_configuration_compares_with_none() -> None:
    for path in ALLOWED:
        tree = ast.parse(Path(PROJECT, path).read_text())
        compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare | ast.Match)]
        names = {node.value for one in compared for node in ast.walk(one) if isinstance(node, ast.Constant)}
        assert not names & {*families(), *models()}
