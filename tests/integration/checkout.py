"""A copy of the project's code that tests can modify and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from polarity.config.settings import PROJECT

PARTS = ("src/polarity", "flows", "bentos", "expectations", "bentofile.yaml", "pyproject.toml", "requirements.lock")


@dataclass(frozen=True)
class Checkout:
    """The code in `folder`, which writes its data to `home`."""

    folder: Path
    home: Path

    @classmethod
    def make(cls, folder: Path, home: Path) -> Checkout:
        """Copy the project's current code."""
        for part in PARTS:
            source, target = PROJECT / part, folder / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(source, target)
        home.mkdir(parents=True, exist_ok=True)
        return cls(folder, home)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace all occurrences of `old`; there must be at least one."""
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new))

    def commit(self, message: str) -> str:
        """Commit everything, creating the repository if necessary, and return the commit id."""
        if not (self.folder / ".git").exists():
            self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("-c", "user.name=tests", "-c", "user.email=tests@localhost", "commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(self.folder), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def environment(self) -> dict[str, str]:
        """Environment in which Python imports this code and writes to its home."""
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(self.folder / "src")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "POLARITY_HOME": str(self.home),
            "BENTOML_HOME": str(self.home / "bentoml"),
        }

    def python(self, *arguments: str, timeout_s: float = 500, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python on this code."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment() | environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
