from __future__ import annotations

import json
from pathlib import Path

import pytest

from polarity.errors import ArtifactError
from polarity.families.packaging import load_predictor
from polarity.inference.package import ModelManifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    (tmp_path / "unrelated.txt").write_text("not part of it")
    ModelManifest.describe(
        tmp_path,
        ["weights.bin"],
        family="logistic",
        name="logistic",
        labels=("no", "yes"),
        precision="fp32",
        temperature=1.5,
        max_tokens=None,
        card={"made": "here"},
    ).write(tmp_path)
    return tmp_path


def test_manifest_round_trips_through_its_file(folder: Path) -> None:
    manifest = ModelManifest.read(folder)
    assert (manifest.labels, manifest.temperature, manifest.size_bytes) == (("no", "yes"), 1.5, 7)
    assert list(manifest.files) == ["weights.bin"]
    assert manifest.created.endswith("+00:00")


def test_card_and_provenance_are_added_to_a_copy(folder: Path) -> None:
    manifest = ModelManifest.read(folder)
    more = manifest.with_card({"accuracy": 0.8}, data_digest="abc")
    assert more.card == {"made": "here", "accuracy": 0.8}
    assert (more.data_digest, more.with_card({}).data_digest, manifest.data_digest) == ("abc", "abc", None)
    assert manifest.card == {"made": "here"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), "No packaged model in"),
        (lambda folder: (folder / "model.json").write_text("{"), "is not a model manifest"),
        (lambda folder: (folder / "weights.bin").unlink(), r"weights\.bin' is missing"),
        (lambda folder: (folder / "weights.bin").write_bytes(b"weightz"), r"weights\.bin' is altered: 7 bytes"),
        (lambda folder: edit(folder, format=2), "has format 2; this version reads format 1"),
        (lambda folder: edit(folder, temperature="hot"), "is not a model manifest"),
        (lambda folder: edit(folder, precision="int4"), "is not a model manifest"),
    ],
)
def test_incomplete_or_altered_package_is_refused(folder: Path, spoil, message: str) -> None:
    spoil(folder)
    with pytest.raises(ArtifactError, match=message):
        ModelManifest.read(folder)


def test_unknown_family_is_refused(folder: Path) -> None:
    edit(folder, family="oracle")
    with pytest.raises(ArtifactError, match="of family 'oracle'"):
        load_predictor(folder)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
