"""A small model, trained and packaged for real, in a Bento that is built and served for real.

If BASE_URL is set, the contract tests run against that server instead, such as a container or a running server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import numpy as np
import pytest

from polarity.bento import build as bento
from polarity.bento.server import BentoServer, served
from polarity.data.corpus import generate_tweets
from polarity.families.bilstm import FILES as BILSTM_FILES
from polarity.families.logistic import LogisticClassifier, LogisticConfig
from polarity.families.onnx_bilstm import BilstmWeights, write_bilstm
from polarity.inference.package import ModelManifest
from polarity.inference.scorers import GRAPH
from polarity.text.cleaning import repair
from polarity.text.tweets import FloatArray, Tweets
from polarity.text.vocabulary import VOCABULARY, Vocabulary

Train = Callable[[Path, int], Path]
Serve = Callable[..., AbstractContextManager[BentoServer]]


@pytest.fixture(scope="session")
def train() -> Train:
    """Train a logistic regression on a few generated tweets, and package it into a folder."""

    def fit(folder: Path, seed: int) -> Path:
        labels = ("negative", "positive")
        rows = generate_tweets(rows=800, labels=labels, seed=seed).to_pylist()
        known = [row for row in rows if row["text"] and row["label"] in labels]
        tweets = Tweets(
            [repair(row["text"]) for row in known], np.array([labels.index(row["label"]) for row in known]), labels
        )
        split = len(tweets) * 3 // 4
        classifier = LogisticClassifier(LogisticConfig(), name="logistic", seed=seed)
        fitted = classifier.fit(
            tweets.take(np.arange(split)), tweets.take(np.arange(split, len(tweets))), lambda *_, **__: None
        )
        fitted.export(folder)
        manifest = ModelManifest.read(folder)
        manifest.with_card({"about": "a test"}, data_digest="d" * 64, git_commit="c" * 40).write(folder)
        return folder

    return fit


@pytest.fixture(scope="session")
def packaged(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packaged model."""
    return train(tmp_path_factory.mktemp("packaged") / "model", 1)


@pytest.fixture(scope="session")
def neural(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packaged BiLSTM with random weights: an untrained graph for ONNX Runtime."""
    folder = tmp_path_factory.mktemp("neural") / "model"
    folder.mkdir()
    random, words, size, units = np.random.default_rng(3), ("so", "good", "bad", "a", "day"), 4, 3

    def weights(*shape: int) -> FloatArray:
        return random.normal(size=shape).astype(np.float32)

    def direction() -> list[FloatArray]:
        return [weights(size, 4 * units), weights(units, 4 * units), weights(4 * units)]

    vocabulary = Vocabulary(words)
    table = weights(vocabulary.rows, size)
    write_bilstm(BilstmWeights(table, direction(), direction(), weights(4 * units, 2), weights(2)), folder / GRAPH)
    vocabulary.write(folder / VOCABULARY)
    ModelManifest.describe(
        folder,
        BILSTM_FILES,
        family="bilstm",
        name="bilstm",
        labels=("negative", "positive"),
        precision="fp32",
        temperature=1.0,
        max_tokens=16,
        card={},
    ).write(folder)
    return folder


@pytest.fixture(scope="session")
def bentoml_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Bento store for the session."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("bentoml")
        patch.setenv("BENTOML_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def tag(packaged: Path, bentoml_home: Path) -> str:
    """A Bento of the packaged model, built by `bentoml build`."""
    return bento.build(packaged, labels={"purpose": "test"})


@pytest.fixture(scope="session")
def serve(tag: str, bentoml_home: Path) -> Serve:
    """Serve the Bento with the given options."""

    def start(**options: str) -> AbstractContextManager[BentoServer]:
        return served(bentoml_home / "bentos" / tag.replace(":", "/"), environment=options)

    return start


@pytest.fixture(scope="session")
def base_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of the server under test."""
    if given := os.environ.get("BASE_URL"):
        yield given
        return
    start: Serve = request.getfixturevalue("serve")
    with start() as server:
        yield server.url


@pytest.fixture(scope="session")
def client(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, timeout=30.0, trust_env=False) as client:
        yield client
