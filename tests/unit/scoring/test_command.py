"""`polarity score`, and the light package that is enough for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from polarity.bento import store
from polarity.bento.build import build
from polarity.config.settings import PROJECT
from polarity.families.packaging import load_predictor
from polarity.registry.stored_model import StoredModel, find_model
from polarity.scoring.command import main

TEXTS = ["great happy day", "awful sad day", "the bus is at noon", ""]
# Stands in every process of the command, workers included, as if the libraries were not installed.
FORBID = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Forbidden())
"""


@pytest.fixture(scope="module")
def keys() -> tuple[str, str]:
    """A private and a public key, as PEM texts."""
    private = ec.generate_private_key(ec.SECP256R1())
    return (
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    )


@pytest.fixture(scope="module")
def bento(model: StoredModel, keys: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The tag of a signed Bento of the model; its store is the present one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(tmp_path_factory.mktemp("bentoml")))
        with pytest.MonkeyPatch.context() as signing:
            signing.setenv("POLARITY_SIGNING_KEY", keys[0])
            tag = build(model.folder)
        yield tag


@pytest.fixture
def tweets(tmp_path: Path) -> Path:
    path = tmp_path / "tweets.csv"
    path.write_text("\n".join(["id,text", *(f"{at},{text}" for at, text in enumerate(TEXTS))]) + "\n")
    return path


def check_scores(folder: Path, model: StoredModel) -> None:
    """The probabilities are those of the model, and a row without a text has none."""
    scores = pq.read_table(folder / "scores")
    found = np.array([scores[f"p_{label}"].to_pylist()[:3] for label in model.manifest.labels]).T
    np.testing.assert_allclose(found, load_predictor(model.folder)(TEXTS[:3]), atol=1e-6)
    assert scores["reason"].to_pylist() == [None, None, None, "no text"]
    assert json.loads((folder / "summary.json").read_text())["scored"] == 3


def closure(requirements: Iterable[str]) -> set[str]:
    """The distributions that these requirements install here."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        needed = waiting.pop()
        name = canonicalize_name(needed.name)
        if name not in found:
            found.add(name)
            of_it = [Requirement(text) for text in requires(name) or ()]
            waiting += [one for one in of_it if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def test_it_needs_the_libraries_of_the_package_without_extras_only(
    model: StoredModel, tweets: Path, tmp_path: Path
) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    light = closure(project["dependencies"]) | {"polarity"}
    forbidden = {
        module
        for module, owners in packages_distributions().items()
        if light.isdisjoint(map(canonicalize_name, owners)) and not module.startswith("__editable__")
    }
    assert {"tensorflow", "prefect", "mlflow", "bentoml", "great_expectations", "pandas", "onnxruntime"} <= forbidden
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FORBID.format(names=forbidden))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "polarity", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = run("score", str(tweets), "--model", str(model.folder), "--output", "out", "--workers", "1")
    assert done.returncode == 0, done.stderr
    check_scores(tmp_path / "out", model)

    refused = run("score", str(tweets))
    assert refused.returncode == 2 and "polarity[train]" in refused.stderr
    refused = run("doctor")
    assert refused.returncode == 2 and "polarity[train]" in refused.stderr
    (tmp_path / "unspaced.csv").write_text("text\n最高の日\n")
    refused = run("score", "unspaced.csv", "--model", str(model.folder), "--workers", "1")
    assert refused.returncode == 2 and "polarity[icu]" in refused.stderr
    shutil.copytree(model.folder, tmp_path / "bento" / "src" / "model")
    environment["POLARITY_VERIFY_KEY"] = "verify.pem"
    refused = run("score", str(tweets), "--model", "bento", "--workers", "1")
    assert refused.returncode == 2 and "polarity[serve]" in refused.stderr


def test_the_model_of_a_bento(
    model: StoredModel, bento: str, tweets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.export_bento(bento, tmp_path / "exported.bento")
    folder = shutil.copytree(store.bento_folder(bento), tmp_path / "folder")
    latest = f"{bento.partition(':')[0]}:latest"
    for given in (str(folder), bento, latest):
        found = find_model(given)
        assert found.title == given
        assert found.manifest == model.manifest

    exported, output = str(tmp_path / "exported.bento"), tmp_path / "out"
    assert main([str(tweets), "--model", exported, "--output", str(output), "--workers", "1"]) == 0
    check_scores(output, model)
    assert f"3 of 4 rows scored by {exported}" in capsys.readouterr().out
    assert (output / "sentiment.png").is_file()


def test_with_a_key_a_bento_is_scored_with_only_as_it_was_signed(
    model: StoredModel,
    bento: str,
    keys: tuple[str, str],
    tweets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("POLARITY_VERIFY_KEY", keys[1])
    folder = shutil.copytree(store.bento_folder(bento), tmp_path / "folder")
    store.export_bento(bento, tmp_path / "exported.bento")
    for number, given in enumerate((str(folder), bento, str(tmp_path / "exported.bento"))):
        output = tmp_path / f"out-{number}"
        assert main([str(tweets), "--model", given, "--output", str(output), "--workers", "1"]) == 0
        check_scores(output, model)
    capsys.readouterr()

    manifest = folder / "src" / "model" / "model.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    with tarfile.open(tmp_path / "changed.bento", "w") as archive:
        archive.add(folder, arcname="")
    for given in (folder, tmp_path / "changed.bento"):
        assert main([str(tweets), "--model", str(given), "--output", str(tmp_path / "refused")]) == 2
        said = capsys.readouterr().err
        assert f"{given.name}' is not what was signed (changed: src/model/model.json)" in said
    for given in (str(model.folder), "champion", "1"):
        assert main([str(tweets), "--model", given, "--output", str(tmp_path / "refused")]) == 2
        assert "packaged models and registered versions are not signed" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_a_file_that_is_no_bento(
    tweets: Path, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "damaged.bento").write_bytes(content)
    assert main([str(tweets), "--model", str(tmp_path / "damaged.bento")]) == 2
    assert "damaged.bento' cannot be read as an exported Bento" in capsys.readouterr().err


def test_dask_is_refused(tweets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tweets), "--runner", "dask"]) == 2
    assert "python -m flows.score" in capsys.readouterr().err


@pytest.mark.soak
def test_the_package_without_extras_is_small_and_scores(model: StoredModel, tweets: Path, tmp_path: Path) -> None:
    source, venv = tmp_path / "source", tmp_path / "venv"
    source.mkdir()
    shutil.copy(PROJECT / "pyproject.toml", source)
    shutil.copytree(PROJECT / "src" / "polarity", source / "src" / "polarity")
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, venv], check=True)
    install = ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", venv / "bin" / "python", source]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode and "Failed to fetch" in installed.stderr:
        pytest.skip(f"needs the package registry: {installed.stderr.strip()[-200:]}")
    assert installed.returncode == 0, installed.stderr
    (packages,) = venv.glob("lib/python*/site-packages")
    size_bytes = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file() and not path.is_symlink())
    assert size_bytes < 300e6

    command = [venv / "bin" / "polarity", "score", tweets, "--model", model.folder, "--workers", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").glob("score-tweets-logistic-*")
    check_scores(folder, model)
