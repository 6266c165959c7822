from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polarity.errors import ArtifactError
from polarity.families.packaging import load_predictor
from polarity.inference.package import ModelManifest
from polarity.inference.predictor import Predictor
from polarity.inference.tfidf import TFIDF_FILES, VOCABULARY, WEIGHTS, NgramBlock, TfidfModel
from polarity.text.tweets import FloatArray


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
        (lambda folder: edit(folder, temperature=0), "is not a model manifest"),
        (lambda folder: edit(folder, files={"../weights.bin": {"sha256": "", "bytes": 7}}), "is not in its folder"),
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


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A packaged model with two n-grams."""
    block = NgramBlock("words", 1, 1, ["bad", "good"])
    weights = np.array([[1.0, -1.0], [-1.0, 1.0]], np.float32)
    TfidfModel([block], idf=np.ones(2, np.float32), coefficients=weights, intercepts=np.zeros(2, np.float32)).save(
        tmp_path
    )
    describe(tmp_path)
    return tmp_path


def describe(folder: Path, labels: tuple[str, ...] = ("no", "yes")) -> None:
    ModelManifest.describe(
        folder,
        TFIDF_FILES,
        family="logistic",
        name="logistic",
        labels=labels,
        precision="fp32",
        temperature=1.0,
        max_tokens=None,
        card={},
    ).write(folder)


def reweigh(folder: Path, **changes: Any) -> None:
    """Change the weights and their digest."""
    with np.load(folder / WEIGHTS) as file:
        weights = {**file, **changes}
    with (folder / WEIGHTS).open("wb") as out:
        np.savez(out, **weights)
    describe(folder)


def test_sound_model_is_loaded(model: Path) -> None:
    predictor = load_predictor(model)
    predictor.warm_up()
    assert predictor(["good"])[0, 1] > 0.5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: edit(folder, files={}), r"cannot be loaded from the files .* \(none\): FileNotFoundError"),
        (lambda folder: forget(folder, WEIGHTS), r"\(ngrams\.json\): FileNotFoundError.*weights\.npz"),
        (lambda folder: forget(folder, VOCABULARY), r"\(weights\.npz\): FileNotFoundError.*ngrams\.json"),
        (lambda folder: spill(folder, WEIGHTS), r"cannot be loaded .* ValueError"),
        (lambda folder: spill(folder, VOCABULARY), r"cannot be loaded .* DecodeError"),
        (lambda folder: reweigh(folder, idf=np.full(2, np.nan, np.float32)), "idf that are not finite"),
        (
            lambda folder: reweigh(folder, intercepts=np.array([0, np.inf], np.float32)),
            "intercepts that are not finite",
        ),
        (lambda folder: reweigh(folder, idf=np.ones(3, np.float32)), r"idf of shape \(3,\); expected \(2,\)"),
        (lambda folder: describe(folder, labels=("no", "so", "yes")), r"gives 2 probabilities per text, but has 3"),
    ],
)
def test_unsound_model_is_refused_when_it_is_loaded_and_tried(
    model: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(model)
    with pytest.raises(ArtifactError, match=message):
        load_predictor(model).warm_up()


def test_answer_that_is_not_a_number_is_an_error(model: Path) -> None:
    class Broken:
        def logits(self, texts: Sequence[str]) -> FloatArray:
            return np.array([[np.nan if text == "bad" else 1.0, 0.0] for text in texts], np.float32)

    predictor = Predictor(ModelManifest.read(model), Broken())
    predictor.warm_up()
    with pytest.raises(ArtifactError, match="not numbers"):
        predictor(["good", "bad"])


def forget(folder: Path, name: str) -> None:
    """Leave a file where it is, but not in the manifest."""
    files = json.loads((folder / "model.json").read_text())["files"]
    edit(folder, files={other: digest for other, digest in files.items() if other != name})


def spill(folder: Path, name: str) -> None:
    """Replace a file by something else, with a digest that fits."""
    (folder / name).write_bytes(b"coffee")
    describe(folder)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
