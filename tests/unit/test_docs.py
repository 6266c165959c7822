"""What the documentation shows is what the code does."""

from __future__ import annotations

import re

import pytest

from polarity.config.settings import PROJECT
from polarity.pipeline.graph import GRAPH, mermaid
from polarity.pipeline.step import Step

EXTEND = (PROJECT / "docs" / "extend.md").read_text()


def test_the_graph_in_the_documentation_is_the_graph() -> None:
    (shown,) = re.findall(r"```mermaid\n(.*?)```", EXTEND, re.DOTALL)
    assert shown == mermaid(), "paste the output of `python -m flows.train --graph` into docs/extend.md"


def test_each_step_stands_after_what_it_needs() -> None:
    for place, node in enumerate(GRAPH):
        assert set(node.needs) <= set(GRAPH[:place])
    assert len({node.name for node in GRAPH}) == len(GRAPH)


def test_the_files_that_the_documentation_names_are_there() -> None:
    library = PROJECT / "src" / "polarity"
    for name in set(re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.py|\.md|\.yaml)?)`", EXTEND)):
        assert any((root / name).exists() for root in (PROJECT, library)), name


def test_the_step_of_the_documentation_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = re.findall(r"```python\n(class CountDays.*?)```", EXTEND, re.DOTALL)
    names: dict[str, object] = {}
    exec(  # it is our own documentation
        "import json\nfrom collections.abc import Mapping\nfrom pathlib import Path\nimport pandas as pd\n"
        "from polarity.pipeline.graph import Prepare\nfrom polarity.pipeline.step import Step\n" + source,
        names,
    )
    step = names["CountDays"]
    assert isinstance(step, type) and issubclass(step, Step)
    assert not getattr(step, "__abstractmethods__", None)
