"""`python -m ops.release VERSION`: write the version, the changelog and the citation, commit them, and tag the commit.

`make release` runs lint, tests and the build of the documentation before. Nothing is pushed without `--push`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path

from ops.service import exit_on_error
from polarity.config.settings import PROJECT
from polarity.errors import ConfigurationError, ServiceUnavailable

VERSION_FILE = Path("src/polarity/__init__.py")
CHANGELOG = Path("CHANGELOG.md")
CITATION = Path("CITATION.cff")
UNRELEASED = "## Unreleased\n"


def check(folder: Path, version: str) -> None:
    """Raise ConfigurationError if `version` cannot be released from the work tree `folder`."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ConfigurationError(f"{version!r} is not a version; use three numbers: make release VERSION=1.2.3")
    if _git(folder, "tag", "--list", f"v{version}"):
        raise ConfigurationError(f"there is a tag v{version} already; choose a later version")
    current = current_version(folder)
    released = _git(folder, "tag", "--list", "v*") != ""
    if _numbers(version) < _numbers(current) or (released and version == current):
        raise ConfigurationError(f"version {version} is not later than {current}")
    if changed := _git(folder, "status", "--porcelain"):
        raise ConfigurationError(f"there are uncommitted changes; commit or remove them:\n{changed}")
    if not _unreleased(folder).strip():
        raise ConfigurationError(f'"Unreleased" in {CHANGELOG} is empty; say what users notice')


def release(folder: Path, version: str, day: date) -> str:
    """Write the version, commit it, and tag the commit.

    Parameters
    ----------
    folder : Path
        A work tree without changes.
    version : str
        Three numbers, later than the current ones.
    day : date
        The day of the release.

    Returns
    -------
    str
        The name of the tag.

    Raises
    ------
    ConfigurationError
        If the version cannot be released from this work tree.
    """
    check(folder, version)
    _replace(folder / VERSION_FILE, r'^__version__ = ".*"$', f'__version__ = "{version}"')
    _replace(folder / CITATION, r"^version: .*\n(date-released: .*\n)?", f"version: {version}\ndate-released: {day}\n")
    _replace(folder / CHANGELOG, rf"^{UNRELEASED}", f"{UNRELEASED}\n## {version} ({day})\n")
    tag = f"v{version}"
    _git(folder, "commit", "--quiet", "--message", f"Release {version}", "--", *map(str, _FILES))
    _git(folder, "tag", "--annotate", tag, "--message", f"Polarity {version}")
    return tag


_FILES = (VERSION_FILE, CITATION, CHANGELOG)


def current_version(folder: Path) -> str:
    """Return the version in the sources of `folder`."""
    found = re.search(r'^__version__ = "(.*)"$', (folder / VERSION_FILE).read_text(), re.MULTILINE)
    if found is None:
        raise ConfigurationError(f'{VERSION_FILE} has no line __version__ = "..."')
    return found[1]


def push(folder: Path, tag: str) -> None:
    """Push the current branch with the tag, both or neither."""
    _git(folder, "push", "--atomic", "origin", "HEAD", tag)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _unreleased(folder: Path) -> str:
    _, found, rest = (folder / CHANGELOG).read_text().partition(UNRELEASED)
    if not found:
        raise ConfigurationError(f'{CHANGELOG} has no heading "{UNRELEASED.strip()}"')
    return rest.split("\n## ", 1)[0]


def _replace(file: Path, pattern: str, text: str) -> None:
    changed, count = re.subn(pattern, text, file.read_text(), count=1, flags=re.MULTILINE)
    if count != 1:
        raise ConfigurationError(f"{file} has no line like {pattern}")
    file.write_text(changed)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceUnavailable(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m ops.release", description="Tag a release.")
    parser.add_argument("version", metavar="VERSION", nargs="?", default="", help="three numbers, such as 1.2.3")
    parser.add_argument("--check", action="store_true", help="only say whether it could be released")
    parser.add_argument("--push", action="store_true", help="also push the branch and the tag")
    options = parser.parse_args()
    if options.check:
        check(PROJECT, options.version)
        return
    tag = release(PROJECT, options.version, datetime.now(UTC).date())
    if options.push:
        push(PROJECT, tag)
        print(f"{tag} is tagged and pushed.")
    else:
        print(f"{tag} is tagged. Push it with: git push --atomic origin HEAD {tag}")


if __name__ == "__main__":
    with exit_on_error("python -m ops.release"):
        main()
