"""A release is one commit and one tag, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest

from ops.release import CHANGELOG, CITATION, VERSION_FILE, check, current_version, push, release
from polarity.config.settings import PROJECT
from polarity.errors import ConfigurationError

DAY = date(2026, 12, 1)


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def work_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's own files of a release, committed, with a remote."""
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "Somebody")
        monkeypatch.setenv(f"{name}_EMAIL", "somebody@example.org")
    folder = tmp_path / "work"
    for file in (VERSION_FILE, CITATION, CHANGELOG):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / file, folder / file)
    changelog = (folder / CHANGELOG).read_text().split("## Unreleased\n")[0]
    (folder / CHANGELOG).write_text(f"{changelog}## Unreleased\n\n- Something new.\n")
    git(tmp_path, "init", "--quiet", "--bare", "remote")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "remote", "add", "origin", str(tmp_path / "remote"))
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "Begin")
    return folder


def test_version_changelog_citation_and_tag_agree(work_tree: Path) -> None:
    assert release(work_tree, "7.1.0", DAY) == "v7.1.0"
    assert current_version(work_tree) == "7.1.0"
    assert "version: 7.1.0\ndate-released: 2026-12-01\n" in (work_tree / CITATION).read_text()
    assert "## Unreleased\n\n## 7.1.0 (2026-12-01)\n\n- Something new.\n" in (work_tree / CHANGELOG).read_text()
    assert git(work_tree, "describe") == "v7.1.0"
    assert git(work_tree, "status", "--porcelain") == ""


def test_a_second_release_replaces_the_date(work_tree: Path) -> None:
    release(work_tree, "7.1.0", DAY)
    changelog = (work_tree / CHANGELOG).read_text().replace("## Unreleased\n", "## Unreleased\n\n- More.\n", 1)
    (work_tree / CHANGELOG).write_text(changelog)
    git(work_tree, "commit", "--quiet", "--all", "--message", "More")
    release(work_tree, "7.1.1", date(2026, 12, 2))
    assert (work_tree / CITATION).read_text().count("date-released") == 1
    assert "## 7.1.1 (2026-12-02)\n\n- More.\n\n## 7.1.0 (2026-12-01)\n" in (work_tree / CHANGELOG).read_text()


def test_nothing_is_pushed_unasked(work_tree: Path) -> None:
    tag = release(work_tree, "7.1.0", DAY)
    assert git(work_tree, "ls-remote", "origin") == ""
    push(work_tree, tag)
    assert "refs/tags/v7.1.0" in git(work_tree, "ls-remote", "origin")
    assert "refs/heads/main" in git(work_tree, "ls-remote", "origin")


@pytest.mark.parametrize("version", ["", "7", "v7.1.0", "7.1.0rc1"])
def test_only_three_numbers_are_a_version(version: str, work_tree: Path) -> None:
    with pytest.raises(ConfigurationError, match="three numbers"):
        check(work_tree, version)


def test_what_cannot_be_released_is_refused(work_tree: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"0\.0\.1 is not later than"):
        check(work_tree, "0.0.1")
    (work_tree / "new.txt").write_text("new")
    with pytest.raises(ConfigurationError, match=r"(?s)uncommitted changes.*new\.txt"):
        check(work_tree, "7.1.0")
    (work_tree / "new.txt").unlink()
    release(work_tree, "7.1.0", DAY)
    with pytest.raises(ConfigurationError, match=r"there is a tag v7\.1\.0 already"):
        check(work_tree, "7.1.0")
    with pytest.raises(ConfigurationError, match=r'"Unreleased" in CHANGELOG\.md is empty'):
        check(work_tree, "7.2.0")
