from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polarity.config.settings import PROJECT
from polarity.pipeline import graph
from polarity.pipeline.fingerprint import Fingerprint, closure, code_of, fingerprint, module_digest

BASE = '''
"""A docstring."""
import polarity_probe_none  # not ours


def clean(text: str) -> str:
    """Lower the text."""
    return text.lower()
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Digest of a module with the given source."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def digest(source: str) -> str:
        (tmp_path / "probe_of_fingerprints.py").write_text(source)
        module_digest.cache_clear()
        sys.modules.pop("probe_of_fingerprints", None)
        return module_digest("probe_of_fingerprints")

    return digest


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        (("text.lower()", "text.upper()"), True),
        (("clean", "tidy"), True),
        (("# not ours", "# a comment"), False),
        (("Lower the text.", "Another docstring."), False),
        (('"""A docstring."""', ""), False),
        (("\n\n\ndef", "\n\n\n\n\ndef"), False),
        (("return text.lower()", "return (text.lower())"), False),
        (("return text", "x = 1\n    return text"), True),
    ],
)
def test_code_counts_and_comments_do_not(module: Callable[[str], str], change: tuple[str, str], matters: bool) -> None:
    changed = BASE.replace(*change)
    assert changed != BASE
    assert (module(BASE) != module(changed)) is matters


def test_a_helper_counts_for_the_modules_that_import_it() -> None:
    assert "polarity.text.cleaning" in closure(["polarity.data.splits"])
    assert "polarity.text.embeddings" in closure(["polarity.families.bilstm"])
    assert "polarity.text.embeddings" not in closure(["polarity.families.logistic"])
    assert "polarity.families.bilstm" not in closure(["polarity.families.fit", "polarity.families.logistic"])
    assert "polarity.evaluation.plots" not in closure(["polarity.families.fit", "polarity.evaluation.scorecard"])
    assert not any(name.startswith("flows") for name in closure(["polarity.pipeline.graph"]))


def modules_of(step: type, *more: str) -> frozenset[str]:
    return closure([*code_of(step).modules, *more])


def test_a_fit_depends_on_its_family_but_not_on_serving_or_storage() -> None:
    seen = modules_of(graph.Fit, "polarity.families.logistic")
    assert {"polarity.families.fit", "polarity.inference.tfidf", "polarity.text.ngrams"} <= seen
    rooms = {name.split(".")[1] for name in seen}
    assert rooms <= {"families", "inference", "text"}, "no server, prediction log, registry, Bento or pipeline"
    assert "polarity.families.transformer" not in seen


def test_the_body_of_a_step_counts_with_its_helpers_and_without_other_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
from pathlib import Path

from polarity.pipeline.step import Step
from polarity.text.cleaning import repair

LIMIT = 3


def short(text):
    return repair(text)[:LIMIT]


def unused(text):
    return text


class Before(Step):
    name = "before"

    def inputs(self):
        return {}

    def write(self, folder):
        from polarity.text.tokens import tokenize

        tokenize("")

    def read(self, folder):
        return None


class After(Step):
    name = "after"
    needs = (Before,)

    def inputs(self):
        return {}

    def write(self, folder):
        def line(text):
            return short(text) + "!"

        (folder / "text").write_text(line("a"))

    def read(self, folder):
        return (folder / "text").read_text()
"""
    monkeypatch.syspath_prepend(str(tmp_path))

    def digest(changed: str) -> str:
        (tmp_path / "probe_of_steps.py").write_text(changed)
        code_of.cache_clear()
        sys.modules.pop("probe_of_steps", None)
        module = importlib.import_module("probe_of_steps")
        importlib.reload(module)
        found = code_of(module.After)
        assert found.modules == {"polarity.text.cleaning"}
        return found.digest

    before = digest(source)
    assert digest(source.replace('+ "!"', '+ "?"')) != before, "a closure"
    assert digest(source.replace("LIMIT = 3", "LIMIT = 4")) != before, "a constant of a helper"
    assert digest(source.replace("[:LIMIT]", "[:LIMIT].lower()")) != before, "a helper"
    assert digest(source.replace('tokenize("")', 'tokenize("a")')) == before, "another step"
    assert digest(source.replace("    return text\n", "    return text * 2\n")) == before, "what it does not use"
    assert digest(source.replace("LIMIT = 3", "LIMIT = 3  # characters")) == before, "a comment"


def test_a_fingerprint_changes_with_each_part_and_names_it() -> None:
    def of(**parts: Any) -> Fingerprint:
        return fingerprint("probe", modules=("polarity.text.cleaning",), libraries=("numpy",), **parts)

    before = of(inputs={"tweets": "abc"}, parameters={"c": 1.0})
    assert before == of(inputs={"tweets": "abc"}, parameters={"c": 1.0})
    after = of(inputs={"tweets": "abd"}, parameters={"c": 2.0, "d": 3})
    assert after.key != before.key
    assert after.changes(before.parts) == [
        "input tweets changed",
        "parameter c changed: 1.0 -> 2.0",
        "new parameter d",
    ]
    assert "parameter d was removed" in before.changes(after.parts)


def test_a_library_counts_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint("probe", inputs={}, parameters={}, libraries=("ftfy",))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9.9")
    after = fingerprint("probe", inputs={}, parameters={}, libraries=("ftfy",))
    (change,) = after.changes(before.parts)
    assert change.startswith("library ftfy changed")
    assert change.endswith("-> 9.9.9")


def test_a_file_counts_by_its_content(tmp_path: Path) -> None:
    suite = tmp_path / "suite.json"
    suite.write_text("{}")
    before = fingerprint("probe", inputs={}, parameters={}, files=(suite,))
    suite.write_text("{ }")
    after = fingerprint("probe", inputs={}, parameters={}, files=(suite,))
    assert after.changes(before.parts) == [f"file {tmp_path.name}/suite.json changed"]


def test_files_of_the_same_name_count_separately() -> None:
    files = [PROJECT / "bentos" / "topology.py", PROJECT / "src" / "polarity" / "serving" / "topology.py"]
    parts = fingerprint("probe", inputs={}, parameters={}, files=files).parts
    assert [part for part in parts if part.startswith("file:")] == [
        "file:bentos/topology.py",
        "file:src/polarity/serving/topology.py",
    ]


def test_digesting_code_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "probe_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "slow.py").write_text("raise AssertionError('imported')\n")
    (package / "step.py").write_text(
        "from probe_package.slow import THING\nfrom probe_package import slow\nimport probe_package.slow\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert closure(["probe_package.step"]) == {"probe_package", "probe_package.step", "probe_package.slow"}
    assert not [name for name in sys.modules if name.startswith("probe_package")]
