"""An audit passes only what was looked up, and what a person has accepted for the present."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ops.audit import LOCKS, AcceptedFinding, problems, read_accepted
from polarity.config.settings import PROJECT
from polarity.errors import ConfigurationError

ENTRY = """
[[finding]]
id = "CVE-2026-1"
package = "h11"
accepted = 2026-11-01
until = 2026-12-01
reason = "Only a proxy that we do not use is affected."
"""


def report(**package: Any) -> dict[str, Any]:
    """What pip-audit writes of a package with one vulnerability."""
    found = {"id": "PYSEC-2026-9", "fix_versions": ["1.1"], "aliases": ["CVE-2026-1"], "description": "..."}
    return {"dependencies": [{"name": "h11", "version": "1.0", "vulns": [found], **package}], "fixes": []}


def accepted(tmp_path: Path, text: str = ENTRY) -> list[AcceptedFinding]:
    path = tmp_path / "accepted.toml"
    path.write_text(text)
    return read_accepted(path)


def test_a_finding_is_accepted_until_its_day_has_passed(tmp_path: Path) -> None:
    exceptions = accepted(tmp_path)
    assert list(problems(report(), exceptions, today=date(2026, 12, 1))) == []
    (late,) = problems(report(), exceptions, today=date(2026, 12, 2))
    assert late == "h11 1.0 has PYSEC-2026-9 (fixed in: 1.1); its exception ended on 2026-12-01"
    (new,) = problems(report(), [], today=date(2026, 12, 1))
    assert new == "h11 1.0 has PYSEC-2026-9 (fixed in: 1.1)"
    (other,) = problems(report(name="h2", vulns=[]), exceptions, today=date(2026, 12, 1))
    assert other == "CVE-2026-1 of h11 is accepted, but is no longer found: remove it from the list"


def test_a_package_that_was_not_looked_up_is_a_problem() -> None:
    skipped = {"dependencies": [{"name": "h11", "skip_reason": "not found"}]}
    assert list(problems(skipped, [], today=date(2026, 12, 1))) == ["h11 was not audited: not found"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("until = 2026-12-01", "until = 2027-12-01"), "accept it for at most 184 days"),
        (("until = 2026-12-01", "until = 2026-10-01"), "accept it for at most 184 days"),
        (("until = 2026-12-01\n", ""), "until"),
        (("until = 2026-12-01", 'until = "soon"'), "until"),
        (("Only a proxy that we do not use is affected.", "ok"), "reason"),
        (("reason", "why"), "why"),
        (("[[finding]]", "[[findings]]"), "it has only"),
    ],
)
def test_a_list_that_says_too_little_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("[", r"\[")):
        accepted(tmp_path, ENTRY.replace(*change))


def test_the_list_of_the_repository_is_one_and_all_locks_are_audited() -> None:
    read_accepted()
    tomllib.loads((PROJECT / "accepted-findings.toml").read_text())
    locks = [path for path in PROJECT.rglob("*.lock") if not {".venv", ".git"} & set(path.parts)]
    assert {path.relative_to(PROJECT).as_posix() for path in locks if path.is_file() and path.stat().st_size} == set(
        LOCKS
    )
