"""The Git commit of the running code."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from polarity.config.settings import PROJECT

UNKNOWN = "unknown"


@dataclass(frozen=True)
class GitState:
    """The commit, and whether the tracked files are unchanged. Without Git: `unknown` and not clean."""

    commit: str
    clean: bool


def git_state(folder: Path = PROJECT) -> GitState:
    """The state of the work tree that contains `folder`."""
    commit = git(folder, "rev-parse", "HEAD")
    if commit is None:
        return GitState(UNKNOWN, clean=False)
    return GitState(commit, clean=git(folder, "status", "--porcelain", "--untracked-files=no") == "")


def git(folder: Path, *arguments: str) -> str | None:
    """The output of a git command run in `folder`; None if it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
