from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from polarity.config.settings import Settings
from polarity.errors import ConfigurationError
from polarity.registry.mlflow_client import connect


@pytest.mark.parametrize("name", ["a b", "a#b", "100%", "a%b", "a@b:c", "ä"])
def test_mlflow_keeps_its_database_and_artifacts_in_the_configured_folder(name: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / name)
    client = connect(settings.tracking_uri)
    run = client.create_run(client.create_experiment("x", artifact_location=settings.artifact_root))
    client.log_text(run.info.run_id, "content", "file.txt")
    assert [folder.name for folder in tmp_path.iterdir()] == [name]
    with closing(sqlite3.connect(tmp_path / name / "mlruns" / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    (logged,) = (tmp_path / name / "mlruns" / "artifacts").rglob("file.txt")
    assert logged.read_text() == "content"


@pytest.mark.parametrize(
    ("name", "character"), [("a%20b", "'%20', which MLflow reads as ' '"), ("a%c3%a4", "'%c3%a4'"), ("a?b", "'?'")]
)
@pytest.mark.parametrize("place", ["tracking_uri", "artifact_root"])
def test_a_home_that_mlflow_would_misread_is_rejected(name: str, character: str, place: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        getattr(Settings(home=Path("/srv") / name), place)
    assert f"The folder /srv/{name} contains {character}" in str(refusal.value)
    assert "POLARITY_HOME" in str(refusal.value)


def test_only_folders_that_mlflow_writes_to_need_a_url_safe_name() -> None:
    home = Path("/srv/a%20b")
    elsewhere = Settings(home=home, mlflow_uri="sqlite:////data/mlflow.db", mlflow_artifacts="/data/artifacts")
    assert elsewhere.tracking_uri == "sqlite:////data/mlflow.db"
    assert elsewhere.artifact_root == "/data/artifacts"
    served = Settings(home=home, mlflow_uri="http://localhost:5000")
    assert served.artifact_root == "/srv/a%20b/mlruns/artifacts"  # not used: the server has its own artifact location
    with pytest.raises(ConfigurationError, match="POLARITY_MLFLOW_ARTIFACTS"):
        _ = Settings(mlflow_artifacts="/data/a%20b").artifact_root


def test_a_database_url_is_read_as_sqlalchemy_reads_it(tmp_path: Path) -> None:
    connect(f"sqlite:///{tmp_path}/a%20b/mlflow.db?timeout=5")
    assert (tmp_path / "a%20b" / "mlflow.db").is_file()
    assert not (tmp_path / "a b").exists()
    with pytest.raises(ConfigurationError, match=r"the path ends at the '\?'"):
        connect(f"sqlite:///{tmp_path}/a?b/mlflow.db")
