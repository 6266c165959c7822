from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from polarity import provenance
from polarity.provenance import Step, closure, code_digest, fingerprint

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
        (tmp_path / "probe_of_provenance.py").write_text(source)
        code_digest.cache_clear()
        sys.modules.pop("probe_of_provenance", None)
        return code_digest("probe_of_provenance")

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


def test_a_helper_counts_for_those_who_import_it() -> None:
    assert "polarity.text.repair" in closure(["polarity.data.splits"])
    assert "polarity.text.embeddings" in closure(["polarity.models.bilstm"])
    assert "polarity.text.embeddings" not in closure(["polarity.models.logistic"])
    assert "polarity.models.bilstm" not in closure(["polarity.models.fit", "polarity.models.logistic"])
    assert "polarity.evaluation.plots" not in closure(["polarity.models.fit", "polarity.evaluation.scorecard"])
    assert not any(name.startswith("flows") for name in closure(["polarity.steps"]))


def test_a_fingerprint_changes_with_each_part_and_tells_which() -> None:
    step = Step("probe", ("polarity.errors", "polarity.text.repair"), ("numpy",))
    before = fingerprint(step, inputs={"tweets": "abc"}, parameters={"c": 1.0})
    assert before == fingerprint(step, inputs={"tweets": "abc"}, parameters={"c": 1.0})
    after = fingerprint(step, inputs={"tweets": "abd"}, parameters={"c": 2.0, "d": 3})
    assert after.key != before.key
    assert after.changes(before.parts) == [
        "input tweets changed",
        "parameter c changed: 1.0 -> 2.0",
        "new parameter d",
    ]
    assert "parameter d is gone" in before.changes(after.parts)


def test_a_library_counts_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step("probe", ("polarity.text.repair",), ("ftfy",))
    before = fingerprint(step, inputs={}, parameters={})
    monkeypatch.setattr(provenance.importlib.metadata, "version", lambda name: "9.9.9")
    after = fingerprint(step, inputs={}, parameters={})
    (told,) = after.changes(before.parts)
    assert told.startswith("library ftfy changed")
    assert told.endswith("-> 9.9.9")


def test_a_file_counts_by_its_content(tmp_path: Path) -> None:
    suite = tmp_path / "suite.json"
    suite.write_text("{}")
    step = Step("probe", (), (), (suite,))
    before = fingerprint(step, inputs={}, parameters={})
    suite.write_text("{ }")
    assert fingerprint(step, inputs={}, parameters={}).changes(before.parts) == ["file suite.json changed"]
