"""What a run meets in the long run (a full disk, a folder that is read-only, a database that is away or locked) is
told in words, leaves nothing half-registered, and does not spoil the next run."""

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
from polarity.config.settings import settings
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.store import Store
from polarity.registry.versions import Registry
from polarity.upkeep.doctor import examine
from tests.integration.servers import free_port

pytestmark = [pytest.mark.usefixtures("prefect_server", "module_home"), pytest.mark.timeout(600)]

OPTIONS = ["--profile", "demo", "--models", "logistic", "--data.rows", "1200"]


@contextmanager
def mounted(*arguments: str, on: Path) -> Iterator[Path]:
    """A mount of our own, so that the disk can be full and the folder read-only for root too."""
    on.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(on)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    try:
        yield on
    finally:
        subprocess.run(["umount", str(on)], check=True)


class Shell:
    """Runs the training as a shell would, with other places."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def train(self, *options: str, **places: Path | str) -> tuple[int, str]:
        """The exit code, and what was said on the standard error."""
        for name, place in places.items():
            self._monkeypatch.setenv(f"POLARITY_{name.upper()}", str(place))
        self._monkeypatch.setattr(sys, "argv", ["train", *OPTIONS, *options])
        settings.cache_clear()
        with pytest.raises(SystemExit) as ended:
            run_from_shell(train, TrainConfig, prog="train", show=show_summary)
        told = self._capsys.readouterr().err
        assert "Traceback" not in told
        return int(str(ended.value.code)), told.split("train: ")[-1]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    yield Shell(monkeypatch, capsys)
    monkeypatch.undo()
    settings.cache_clear()


def test_a_full_disk(shell: Shell, tmp_path: Path) -> None:
    with mounted("-t", "tmpfs", "-o", "size=8m", "polarity", on=tmp_path / "small") as small:
        filler = small / "filler"
        filler.write_bytes(bytes(7_900_000))
        code, told = shell.train(store=small)
        assert code == 1
        assert told.startswith("The disk is full (No space left on device")
        assert "POLARITY_HOME" in told
        assert Registry.open().versions() == ()
        filler.unlink()
        assert examine(Registry.open(), Store(small)) == []


@pytest.mark.parametrize("place", ["store", "runs"])
def test_a_folder_that_cannot_be_written(place: str, shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / place
    with mounted("-t", "tmpfs", "-o", "size=1m,ro", "polarity", on=folder):
        code, told = shell.train(**{place: folder})
        assert code == 2
        assert f"{folder}" in told
        assert "cannot be written" in told
        assert "Read-only file system" in told
        assert f"POLARITY_{place.upper()}" in told


@pytest.mark.parametrize("kind", ["http", "postgresql"])
def test_an_mlflow_that_is_away(kind: str, shell: Shell) -> None:
    address = {"http": "http://127.0.0.1:{}", "postgresql": "postgresql://polarity:secret@127.0.0.1:{}/mlflow"}[kind]
    port = free_port()
    code, told = shell.train(mlflow_uri=address.format(port))
    assert code == 1
    assert f"127.0.0.1:{port}" in told
    assert "does not answer" in told
    assert "secret" not in told


def test_a_locked_database(shell: Shell, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(database)) as holder:
        holder.execute("CREATE TABLE held (it)")
        holder.execute("BEGIN EXCLUSIVE")
        code, told = shell.train(mlflow_uri=f"sqlite:///{database}")
        assert code == 1
        assert "database is locked" in told
        assert str(database) in told
        code, told = shell.train("--faults.step_timeout_s", "1", mlflow_uri=f"sqlite:///{database}")
        assert code == 1
        assert "did not end within 1 s" in told, "a step that hangs is given up"


def test_the_next_run_ends_complete(shell: Shell) -> None:
    code, told = shell.train()
    assert code == 0, told
    assert [version.number for version in Registry.open().versions()] == [1]
    assert examine(Registry.open(), Store(settings().store_folder)) == []


def test_a_fit_that_takes_too_long(shell: Shell) -> None:
    code, told = shell.train("--logistic.c", "0.7", "--faults.fit_timeout_s", "0.1", "--faults.retries", "0")
    assert code == 1
    assert told.startswith("polarity.families.fit:fit_model (process ")
    assert "was killed after its 0.1 s" in told
