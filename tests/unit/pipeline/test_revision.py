"""The commit, with git and without."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from polarity.pipeline.revision import GitState, git_state


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-m", "one")
    return tmp_path


def test_a_clean_tree(repository: Path) -> None:
    state = git_state(repository)
    assert len(state.commit) == 40
    assert state.clean


def test_a_changed_file_is_not_clean_and_a_new_one_does_not_matter(repository: Path) -> None:
    (repository / "new").write_text("not tracked")
    assert git_state(repository).clean
    (repository / "file").write_text("two")
    assert not git_state(repository).clean


def test_no_repository(tmp_path: Path) -> None:
    assert git_state(tmp_path) == GitState("unknown", clean=False)


def test_no_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(repository) == GitState("unknown", clean=False)
