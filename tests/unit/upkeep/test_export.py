"""Models taken elsewhere give the probabilities that are served."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from polarity.errors import ArtifactError, ConfigurationError
from polarity.families.exports import UNQUANTISED
from polarity.families.packaging import load_predictor
from polarity.families.protocol import FittedClassifier
from polarity.families.registry import family_of
from polarity.inference.package import ModelManifest
from polarity.inference.placement import Placement
from polarity.inference.session import Session
from polarity.inference.softmax import softmax
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.store import Store
from polarity.text.cleaning import repair
from polarity.upkeep.export import export_model
from tests.unit.families.conftest import make_tweets, silent

SECTIONS = {
    "logistic": {},
    "bilstm": {"units": 4, "vector_size": 4, "epochs": 1},
    "distilbert": {"encoder": "random", "learning_rate": 5e-3, "max_tokens": 16},
    "bert": {"encoder": "random", "learning_rate": 5e-3, "max_tokens": 16},
}
TEXTS = [*make_tweets(40, seed=7).texts, "so &amp;amp; happy \\n", "", "an awful, sad day " * 10]

Packaged = Callable[[str], Path]


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    """Fit a small model once and return the folder of its package."""
    done: dict[str, Path] = {}

    def fit(name: str) -> Path:
        if name not in done:
            section = TrainConfig.model_validate({name: SECTIONS[name]}).section(name)
            tweets = make_tweets(300, seed=1)
            fitted: FittedClassifier = (
                family_of(name).classifier(section, name=name, seed=3).fit(tweets, tweets, silent)
            )
            done[name] = fitted.export(tmp_path_factory.mktemp(name) / "packaged").folder
        return done[name]

    return fit


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def full_precision(package: Path) -> np.ndarray:
    """The probabilities for `TEXTS` that the package would serve in full precision."""
    from polarity.inference.subwords import SubwordTokenizer

    manifest = ModelManifest.read(package)
    graph = package / "model.onnx" if manifest.precision == "fp32" else package.with_name(UNQUANTISED) / "model.onnx"
    ids = SubwordTokenizer.read(package).ids([repair(text) for text in TEXTS])
    return softmax(Session(graph, placement=Placement()).logits(ids), temperature=manifest.temperature)


# Encoders of RoBERTa's layout: tests/integration/test_encoders.py
@pytest.mark.parametrize("name", ["distilbert", pytest.param("bert", marks=pytest.mark.soak)])
def test_a_pipeline_of_transformers_gives_the_probabilities_of_the_served_model(
    packaged: Packaged, store: Store, tmp_path: Path, name: str
) -> None:
    from transformers import pipeline

    export_model(str(packaged(name)), "hf", tmp_path / "taken", store=store)
    classify = pipeline("text-classification", str(tmp_path / "taken"), top_k=None)
    found = [
        {row["label"]: row["score"] for row in answer}
        for answer in classify([repair(text) for text in TEXTS], truncation=True)
    ]
    labels = ModelManifest.read(packaged(name)).labels
    np.testing.assert_allclose(
        [[row[label] for label in labels] for row in found], full_precision(packaged(name)), atol=1e-4
    )


def test_the_folder_for_the_hub_has_a_card_and_the_cleaning(packaged: Packaged, store: Store, tmp_path: Path) -> None:
    done = export_model(str(packaged("distilbert")), "hf", tmp_path / "taken", store=store)
    assert set(done.files) >= {"config.json", "model.safetensors", "tokenizer.json", "README.md", "cleaning.py"}
    config = json.loads((tmp_path / "taken" / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "neutral", "2": "positive"}
    card = (tmp_path / "taken" / "README.md").read_text()
    assert card.startswith('---\npipeline_tag: "text-classification"\n')
    assert "| parity.max_difference |" in card
    cleaning = runpy.run_path(str(tmp_path / "taken" / "cleaning.py"))
    assert [cleaning["repair"](text) for text in TEXTS] == [repair(text) for text in TEXTS]


@pytest.mark.soak
def test_without_weights_in_full_precision_the_message_says_what_to_do(
    packaged: Packaged, store: Store, tmp_path: Path
) -> None:
    package = packaged("bert")
    assert ModelManifest.read(package).precision == "int8"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(package)
    with pytest.raises(ArtifactError, match=r"weights in int8, and the store does not have.*`quantise` false"):
        export_model(str(elsewhere), "hf", tmp_path / "taken", store=store)
    assert not (tmp_path / "taken").exists()


def test_a_pipeline_of_scikit_learn_gives_the_probabilities_of_the_served_model(
    packaged: Packaged, store: Store, tmp_path: Path
) -> None:
    import skops.io

    export_model(str(packaged("logistic")), "sklearn", tmp_path / "taken", store=store)
    file = tmp_path / "taken" / "model.skops"
    pipeline = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
    predictor = load_predictor(packaged("logistic"))
    expected = predictor(TEXTS)
    np.testing.assert_allclose(pipeline.predict_proba(TEXTS), expected, atol=1e-5)
    assert list(pipeline.predict(TEXTS)) == [predictor.labels[number] for number in expected.argmax(axis=1)]


def test_the_readme_of_onnx_says_how_to_run_the_graph(packaged: Packaged, store: Store, tmp_path: Path) -> None:
    export_model(str(packaged("bilstm")), "onnx", tmp_path / "taken", store=store)
    readme = (tmp_path / "taken" / "README.md").read_text()
    for name in ("`ids`", "`lengths`", "`logits`"):
        assert name in readme
    np.testing.assert_array_equal(load_predictor(tmp_path / "taken")(TEXTS), load_predictor(packaged("bilstm"))(TEXTS))


@pytest.mark.parametrize(
    ("name", "format", "known"),
    [
        ("logistic", "hf", "bento, sklearn"),
        ("logistic", "onnx", "bento, sklearn"),
        ("bilstm", "hf", "bento, onnx"),
        ("distilbert", "sklearn", "bento, onnx, hf"),
    ],
)
def test_a_format_that_the_family_lacks_is_refused_with_those_that_it_has(
    packaged: Packaged, store: Store, tmp_path: Path, name: str, format: str, known: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"has no format '{format}'; it has {known}\\."):
        export_model(str(packaged(name)), format, tmp_path / "taken", store=store)


def test_a_folder_with_files_in_it_is_left_alone(packaged: Packaged, store: Store, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="is not an empty folder"):
        export_model(str(packaged("logistic")), "sklearn", tmp_path, store=store)
    assert (tmp_path / "kept.txt").read_text() == "mine"


def test_the_command_line_writes_the_folder_and_names_its_files(packaged: Packaged, home: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "polarity", "export", "--model", str(packaged("logistic"))]
    done = subprocess.run(
        [*command, "--format", "sklearn", "--to", str(tmp_path / "taken")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "README.md, model.skops" in done.stdout
    done = subprocess.run(
        [*command, "--format", "bento", "--to", str(tmp_path / "other")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "needs `champion` or a version" in done.stderr
