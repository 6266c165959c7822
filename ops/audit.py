"""`python -m ops.audit`: look up the known vulnerabilities of all locked packages with pip-audit.

`accepted-findings.toml` lists the findings that are accepted, until when and why. Anything else fails: another
finding, an exception that has expired or that nothing needs any more, and a package that could not be looked up.

Exit codes: 0 nothing to do; 1 there are findings; 2 the list contains a mistake.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ops.service import exit_on_error
from polarity.config.settings import PROJECT
from polarity.errors import ConfigurationError, PolarityError, ServiceUnavailable

ACCEPTED = PROJECT / "accepted-findings.toml"
LOCKS = (
    ".github/requirements.lock",
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-uv.lock",
    "benchmarks/requirements-peers.lock",
    "benchmarks/requirements-servers.lock",
    "bentos/requirements.lock",
    "bentos/requirements-gpu.lock",
    "page/requirements.lock",
)
LONGEST = timedelta(days=184)


class AcceptedFinding(BaseModel):
    """An exception: a vulnerability of a package that is accepted from one day until another."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str
    package: str
    accepted: date
    until: date
    reason: str = Field(min_length=20)


def read_accepted(path: Path = ACCEPTED) -> list[AcceptedFinding]:
    """Read the list of accepted findings.

    Raises
    ------
    ConfigurationError
        If it is not in the form that its head describes, or accepts something for too long.
    """
    try:
        listed = tomllib.loads(path.read_text())
        unknown = set(listed) - {"finding"}
        if unknown:
            raise ConfigurationError(f"{path} has {', '.join(sorted(unknown))}; it has only [[finding]].")
        findings = [AcceptedFinding.model_validate(entry) for entry in listed.get("finding", [])]
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    for finding in findings:
        if not timedelta(0) <= finding.until - finding.accepted <= LONGEST:
            raise ConfigurationError(
                f"{path} accepts {finding.id} from {finding.accepted} until {finding.until}; accept it for at most "
                f"{LONGEST.days} days, then look again."
            )
    return findings


def problems(report: Mapping[str, Any], accepted: Sequence[AcceptedFinding], *, today: date) -> Iterator[str]:
    """What has to be looked at.

    Parameters
    ----------
    report : mapping
        What pip-audit writes as JSON.
    accepted : sequence of AcceptedFinding
    today : date
    """
    needed = set()
    for package in report["dependencies"]:
        if reason := package.get("skip_reason"):
            yield f"{package['name']} was not audited: {reason}"
        for found in package.get("vulns", ()):
            names = {found["id"], *found.get("aliases", ())}
            exceptions = [one for one in accepted if one.package == package["name"] and one.id in names]
            needed.update(exceptions)
            if not any(today <= one.until for one in exceptions):
                fixed = ", ".join(found["fix_versions"]) or "none yet"
                expired = "".join(f"; its exception ended on {one.until}" for one in exceptions)
                yield f"{package['name']} {package['version']} has {found['id']} (fixed in: {fixed}){expired}"
    for one in accepted:
        if one not in needed:
            yield f"{one.id} of {one.package} is accepted, but is no longer found: remove it from the list"


def audit(locks: Sequence[str] = LOCKS) -> dict[str, Any]:
    """Let pip-audit look up all packages of lock files, and return its report.

    Raises
    ------
    ServiceUnavailable
        If it wrote none.
    """
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner=off"]
    command += ["--format=json", *(part for lock in locks for part in ("--requirement", str(PROJECT / lock)))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise ServiceUnavailable(f"pip-audit could not look up the packages:\n{done.stderr[-2000:]}") from None
    return report


def main() -> None:
    """Print what has to be looked at."""
    accepted = read_accepted()
    report = audit()
    found = sorted(set(problems(report, accepted, today=date.today())))
    for problem in found:
        print(problem)
    print(f"{len(report['dependencies'])} packages, {len(accepted)} accepted findings, {len(found)} problems.")
    if found:
        raise PolarityError("Update the packages, or accept the findings for a while in accepted-findings.toml.")


if __name__ == "__main__":
    with exit_on_error("python -m ops.audit"):
        main()
