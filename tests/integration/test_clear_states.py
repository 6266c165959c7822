"""Operational failures give a readable error, leave nothing half-registered, and do not affect the next run.

Covered: a full disk, a read-only folder, an unreachable or locked database, and a fit that times out.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flows.terminal import run_from_shell, show_summary
from flows.train import train
from polarity.bento.server import free_port
from polarity.config.settings import settings
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.store import Store
from polarity.registry.versions import Registry
from polarity.upkeep.doctor import examine

pytestmark = [pytest.mark.usefixtures("prefect_server", "module_home"), pytest.mark.timeout(600)]

OPTIONS = ["--profile", "demo", "--models", "logistic", "--data.rows", "1200"]


@contextmanager
def mounted(*arguments: str, on: Path) -> Iterator[Path]:
    """Mount a file system, so that the disk can be full or the folder read-only even for root."""
    on.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(on)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs permission to mount: {done.stderr.strip()}")
    try:
        yield on
    finally:
        subprocess.run(["umount", str(on)], check=True)


class Shell:
    """Runs the training command with different locations."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def train(self, *options: str, **locations: Path | str) -> tuple[int, str]:
        """Return the exit code and the standard error."""
        for name, location in locations.items():
            self._monkeypatch.setenv(f"POLARITY_{name.upper()}", str(location))
        self._monkeypatch.setattr(sys, "argv", ["train", *OPTIONS, *options])
        settings.cache_clear()
        with pytest.raises(SystemExit) as ended:
            run_from_shell(train, TrainConfig, prog="train", show=show_summary)
        message = self._capsys.readouterr().err
        assert "Traceback" not in message
        return int(str(ended.value.code)), message.split("train: ")[-1]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    yield Shell(monkeypatch, capsys)
    monkeypatch.undo()
    settings.cache_clear()


def test_full_disk(shell: Shell, tmp_path: Path) -> None:
    with mounted("-t", "tmpfs", "-o", "size=8m", "polarity", on=tmp_path / "small") as small:
        filler = small / "filler"
        filler.write_bytes(bytes(7_900_000))
        code, message = shell.train(store=small)
        assert code == 1
        assert message.startswith("The disk is full (No space left on device")
        assert "POLARITY_HOME" in message
        assert Registry.open().versions() == ()
        filler.unlink()
        assert examine(Registry.open(), Store(small)) == []


@pytest.mark.parametrize("place", ["store", "runs"])
def test_read_only_folder(place: str, shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / place
    with mounted("-t", "tmpfs", "-o", "size=1m,ro", "polarity", on=folder):
        code, message = shell.train(**{place: folder})
        assert code == 2
        assert f"{folder}" in message
        assert "cannot be written" in message
        assert "Read-only file system" in message
        assert f"POLARITY_{place.upper()}" in message


@pytest.mark.parametrize("kind", ["http", "postgresql"])
def test_unreachable_mlflow(kind: str, shell: Shell) -> None:
    address = {"http": "http://127.0.0.1:{}", "postgresql": "postgresql://polarity:secret@127.0.0.1:{}/mlflow"}[kind]
    port = free_port()
    code, message = shell.train(mlflow_uri=address.format(port))
    assert code == 1
    assert f"127.0.0.1:{port}" in message
    assert "does not respond" in message
    assert "secret" not in message


def test_locked_database(shell: Shell, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(database)) as holder:
        holder.execute("CREATE TABLE held (it)")
        holder.execute("BEGIN EXCLUSIVE")
        code, message = shell.train(mlflow_uri=f"sqlite:///{database}")
        assert code == 1
        assert "database is locked" in message
        assert str(database) in message
        code, message = shell.train("--faults.step_timeout_s", "1", mlflow_uri=f"sqlite:///{database}")
        assert code == 1
        assert "timed out after 1 s" in message, "a step that hangs times out"


def test_next_run_completes(shell: Shell) -> None:
    code, message = shell.train()
    assert code == 0, message
    assert [version.number for version in Registry.open().versions()] == [1]
    assert examine(Registry.open(), Store(settings().store_folder)) == []


def test_fit_timeout(shell: Shell) -> None:
    code, message = shell.train("--logistic.c", "0.7", "--faults.fit_timeout_s", "0.1", "--faults.retries", "0")
    assert code == 1
    assert message.startswith("polarity.families.fit:fit_model (process ")
    assert "was killed at its timeout of 0.1 s" in message
