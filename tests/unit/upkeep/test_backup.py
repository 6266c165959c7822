"""A backup is whole or says so, is readable by its owner alone, and overwrites nothing."""

from __future__ import annotations

import sqlite3
import stat
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from polarity.__main__ import main
from polarity.config.settings import settings
from polarity.errors import ArtifactError, ConfigurationError
from polarity.registry.mlflow_client import relocate
from polarity.upkeep.backup import back_up, restore


@pytest.fixture
def used(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a run, a result, half a result, collected tweets, two Bentos that share a file, and a record."""
    monkeypatch.setenv("POLARITY_PREDICTION_LOG", str(home / "predictions.db"))
    for name in (
        "runs/one/summary.json", "store/fit/key.json", "store/fit/key/model.bin", "store/fit/.key.abc/half",
        "collected/a.parquet", "bentoml/bentos/sentiment/latest", "bentoml/bentos/sentiment/v1/weights",
    ):  # fmt: skip
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the content of {name}")
    other = home / "bentoml/bentos/sentiment-candidate/v1/weights"
    other.parent.mkdir(parents=True)
    other.hardlink_to(home / "bentoml/bentos/sentiment/v1/weights")
    with closing(sqlite3.connect(home / "predictions.db")) as record, record:
        record.execute("PRAGMA journal_mode=WAL")
        record.execute("CREATE TABLE answers (id)")
        record.execute("INSERT INTO answers VALUES ('first')")
    (home / "predictions.db").chmod(0o600)
    return home


def move_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another machine: a home of its own."""
    monkeypatch.setenv("POLARITY_HOME", str(folder))
    monkeypatch.setenv("BENTOML_HOME", str(folder / "bentoml"))
    monkeypatch.setenv("POLARITY_PREDICTION_LOG", str(folder / "predictions.db"))
    settings.cache_clear()
    return folder


def rows(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as record:
        return [row for (row,) in record.execute("SELECT id FROM answers")]


@pytest.mark.parametrize("name", ["backup.tar", "backup.tar.gz"])
def test_everything_is_there_again_on_another_machine(
    used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with closing(sqlite3.connect(used / "predictions.db")) as writing:
        writing.execute("INSERT INTO answers VALUES ('not committed')")
        done = back_up(tmp_path / name)
    assert any(one.startswith("registry: there is none") for one in done.left_out)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    before = {
        path.relative_to(used).as_posix(): path.read_bytes()
        for path in used.rglob("*")
        if path.is_file() and "predictions.db" not in path.name and ".key.abc" not in path.parts
    }
    other = move_to(tmp_path / "other", monkeypatch)
    assert restore(tmp_path / name).files == done.files == len(before) + 1
    after = {path.relative_to(other).as_posix(): path for path in other.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in after.items() if name != "predictions.db"} == before
    assert rows(other / "predictions.db") == ["first"]
    assert stat.S_IMODE((other / "predictions.db").stat().st_mode) == 0o600


def test_nothing_is_overwritten(used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "backup.tar"
    back_up(file)
    with pytest.raises(ConfigurationError, match="exists, and is not overwritten"):
        back_up(file)
    with pytest.raises(ConfigurationError, match=r"Nothing is overwritten, but there are: Bentos in .*; record in"):
        restore(file)
    other = move_to(tmp_path / "other", monkeypatch)
    (other / "runs").mkdir(parents=True)
    restore(file)  # an empty folder is nothing
    assert (other / "runs/one/summary.json").is_file() and not list(other.glob(".restore*"))


def test_what_is_damaged_or_missing_is_named_and_nothing_is_restored(
    used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "backup.tar"
    back_up(file)
    whole = file.read_bytes()
    other = move_to(tmp_path / "other", monkeypatch)

    def problem(content: bytes) -> str:
        file.write_bytes(content)
        with pytest.raises(ArtifactError) as caught:
            restore(file)
        assert not list(other.iterdir())
        return str(caught.value)

    assert "store/fit/key/model.bin is damaged" in problem(
        whole.replace(b"the content of store/fit/key/model.bin", b"the content of store/fit/key/model.bix")
    )
    assert "is no backup, or was cut off" in problem(whole[: len(whole) // 2])
    assert "is no backup" in problem(b"something else")
    assert "is no backup" in problem(b"")
    without = tmp_path / "without.tar"
    file.write_bytes(whole)
    with tarfile.open(file) as source, tarfile.open(without, "w") as target:
        for member in source:
            if member.name != "collected/a.parquet":
                target.addfile(member, source.extractfile(member) if member.isreg() else None)
    assert "collected/a.parquet is missing" in problem(without.read_bytes())


def test_what_is_kept_elsewhere_is_named(
    used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POLARITY_MLFLOW_URI", "http://mlflow.example")
    monkeypatch.setenv("POLARITY_STORE", "s3://bucket/store")
    settings.cache_clear()
    monkeypatch.setattr(sys, "argv", ["polarity", "backup", str(tmp_path / "backup.tar")])
    assert main() == 0
    printed = capsys.readouterr().out
    assert "not in the backup  registry: in MLflow's server or database" in printed
    assert "not in the backup  results of steps: in a bucket" in printed


def test_an_empty_home_has_no_backup(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARITY_PREDICTION_LOG", str(home / "predictions.db"))
    with pytest.raises(ConfigurationError, match="There is nothing to back up"):
        back_up(tmp_path / "backup.tar")
    assert not list(tmp_path.glob("*backup*"))


def test_paths_are_changed_where_they_begin_with_the_old_folder(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, columns in {
            "experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location",
            "model_versions": "source, storage_location", "tags": "value",
        }.items():  # fmt: skip
            connection.execute(f"CREATE TABLE {table} ({columns})")
        connection.executemany("INSERT INTO runs VALUES (?)", [("/a/b%c",), ("/a/b%c/1",), ("/a/b%cd",), ("/x/a/b%c",)])
    relocate(database, {"/a/b%c": "/new"})
    with closing(sqlite3.connect(database)) as connection:
        found = [uri for (uri,) in connection.execute("SELECT artifact_uri FROM runs")]
    assert found == ["/new", "/new/1", "/a/b%cd", "/x/a/b%c"]
