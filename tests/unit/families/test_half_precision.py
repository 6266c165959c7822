"""Half precision is added to a package only if its predictions match those of full precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polarity.errors import ArtifactError
from polarity.families.bilstm import FILES
from polarity.families.half_precision import add_half_precision
from polarity.families.onnx_bilstm import BilstmWeights, write_bilstm
from polarity.families.packaging import load_predictor
from polarity.inference.package import HALF_GRAPH, ModelManifest
from polarity.inference.scorers import GRAPH
from polarity.text.tweets import FloatArray
from polarity.text.vocabulary import VOCABULARY, Vocabulary

WORDS = ("so", "good", "bad", "a", "day")
TEXTS = [" ".join(np.random.default_rng(n).choice(WORDS, n % 7 + 1)) for n in range(100)]


def package(folder: Path, *, scale: float = 0.5, shift: float = 0.0, precision: str = "fp32") -> Path:
    """A BiLSTM of random weights; both of its outputs are shifted."""
    folder.mkdir()
    random = np.random.default_rng(1)

    def weights(*shape: int) -> FloatArray:
        return (scale * random.normal(size=shape)).astype(np.float32)

    vocabulary = Vocabulary(WORDS)

    def direction() -> list[FloatArray]:
        return [weights(4, 12), weights(3, 12), weights(12)]

    write_bilstm(
        BilstmWeights(weights(vocabulary.rows, 4), direction(), direction(), weights(12, 2), weights(2) + shift),
        folder / GRAPH,
    )
    vocabulary.write(folder / VOCABULARY)
    ModelManifest.describe(
        folder,
        FILES,
        family="bilstm",
        name="b",
        labels=("no", "yes"),
        precision=precision,  # type: ignore[arg-type]
        temperature=1.0,
        max_tokens=None,
        card={"about": "kept"},
    ).write(folder)
    return folder


def test_a_graph_that_agrees_is_kept_beside_the_full_one(tmp_path: Path) -> None:
    full = package(tmp_path / "full")
    manifest = add_half_precision(full, tmp_path / "half", TEXTS)
    assert manifest == ModelManifest.read(tmp_path / "half")
    assert manifest.card["about"] == "kept" and manifest.card["half"]["kept"] is True
    assert HALF_GRAPH in manifest.files and manifest.precision == "fp32"
    assert manifest.files[GRAPH] == ModelManifest.read(full).files[GRAPH], "the CPU's graph is as it was"
    assert manifest.files[HALF_GRAPH] != manifest.files[GRAPH]
    np.testing.assert_array_equal(load_predictor(tmp_path / "half")(TEXTS), load_predictor(full)(TEXTS))


def test_a_graph_that_loses_accuracy_in_half_precision_is_left_out(tmp_path: Path) -> None:
    # Between numbers of this size, halves have steps of 16: the difference of the outputs is lost.
    manifest = add_half_precision(package(tmp_path / "full", shift=2e4), tmp_path / "half", TEXTS)
    assert manifest.card["half"]["kept"] is False
    assert HALF_GRAPH not in manifest.files and not (tmp_path / "half" / HALF_GRAPH).exists()


def test_only_a_full_precision_package_can_be_converted(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="fp32"):
        add_half_precision(package(tmp_path / "int8", precision="int8"), tmp_path / "half", TEXTS)
    with pytest.raises(ArtifactError, match="0 texts"):
        add_half_precision(package(tmp_path / "full"), tmp_path / "half", [])
