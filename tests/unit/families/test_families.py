"""What every family keeps to, from the fit to the packaged model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polarity.errors import ArtifactError
from polarity.families.packaging import load_predictor
from polarity.families.protocol import Classifier
from polarity.families.registry import family_of
from polarity.pipeline.config import TrainConfig
from polarity.text.tweets import Tweets
from tests.unit.families.conftest import Fit, make_tweets, silent

# DistilBERT's layout is BERT's, but for its names.
NAMES = ["logistic", "bilstm", "distilbert", pytest.param("bert", marks=pytest.mark.soak), "roberta"]
Fitted = Callable[[str], Fit]

HOSTILE = [
    "",
    " ",
    "\x00",
    "\ud800",
    "\udfff tail",
    "\U0001f602" * 2000,
    "a" * 5000,
    "مرحبا",
    "\u200b",
    "&amp;#0;",
    "\\ud83d",
]


def logistic(*, seed: int) -> Classifier:
    return family_of("logistic").classifier(TrainConfig().section("logistic"), name="logistic", seed=seed)


@pytest.mark.parametrize("name", NAMES)
def test_the_package_predicts_the_same_as_the_trained_model(
    fitted: Fitted, name: str, validation_tweets: Tweets
) -> None:
    model, predictor = fitted(name).model, fitted(name).predictor
    trained, packaged = model.predict_proba(validation_tweets.texts), predictor(validation_tweets.texts)
    assert trained.dtype == packaged.dtype == np.float32
    assert trained.shape == packaged.shape == (150, 3)
    np.testing.assert_allclose(packaged.sum(axis=1), 1, atol=1e-5)
    loss = (trained.argmax(1) == validation_tweets.labels).mean() - (
        packaged.argmax(1) == validation_tweets.labels
    ).mean()
    if predictor.manifest.precision == "int8":
        assert loss <= 0.003
    else:
        np.testing.assert_allclose(packaged, trained, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_learnable_task_is_learnt(fitted: Fitted, name: str) -> None:
    predictor = fitted(name).predictor
    unseen = make_tweets(200, seed=9)
    assert (predictor(unseen.texts).argmax(axis=1) == unseen.labels).mean() > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_describes_the_package(fitted: Fitted, name: str) -> None:
    predictor = fitted(name).predictor
    manifest = predictor.manifest
    assert (manifest.name, manifest.family) == (name, family_of(name).name)
    assert predictor.labels == ("negative", "neutral", "positive")
    assert manifest.card["parity"]["max_difference"] <= 1e-3
    assert manifest.size_bytes > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_learning_curve_has_train_and_validation(fitted: Fitted, name: str) -> None:
    model = fitted(name).model
    epochs = model.history.epochs
    assert [epoch["epoch"] for epoch in epochs] == sorted({epoch["epoch"] for epoch in epochs})
    for epoch in epochs:
        assert set(epoch) == {"epoch", "loss", "accuracy", "validation_loss", "validation_accuracy"}
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    json.dumps(model.history.notes)


@pytest.mark.parametrize("name", ["bilstm", "distilbert"])
def test_the_best_epoch_is_kept(fitted: Fitted, name: str, validation_tweets: Tweets) -> None:
    model = fitted(name).model
    best = min(model.history.epochs, key=lambda epoch: epoch["validation_loss"])
    assert model.history.notes["best_epoch"] == best["epoch"]
    right = model.predict_proba(validation_tweets.texts).argmax(axis=1) == validation_tweets.labels
    assert right.mean() == pytest.approx(best["validation_accuracy"])


@pytest.mark.parametrize("name", NAMES)
def test_the_predictor_never_raises_and_keeps_the_order(fitted: Fitted, name: str) -> None:
    predictor = fitted(name).predictor

    @given(st.lists(st.one_of(st.text(), st.sampled_from(HOSTILE)), max_size=8))
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    def check(texts: list[str]) -> None:
        together = predictor(texts)
        assert together.shape == (len(texts), 3)
        assert np.isfinite(together).all()
        if texts and predictor.manifest.precision != "int8":
            alone = np.concatenate([predictor([text]) for text in texts])
            np.testing.assert_allclose(together, alone, atol=1e-5)

    check()


def test_the_same_seed_gives_the_same_logistic_regression(
    fitted: Fitted, train_tweets: Tweets, validation_tweets: Tweets
) -> None:
    again = (
        family_of("logistic")
        .classifier(TrainConfig().section("logistic"), name="logistic", seed=3)
        .fit(train_tweets, validation_tweets, silent)
    )
    np.testing.assert_array_equal(
        again.predict_proba(validation_tweets.texts),
        fitted("logistic").model.predict_proba(validation_tweets.texts),
    )


def test_two_labels_have_two_columns(tmp_path: Path) -> None:
    train = make_tweets(200, seed=1, labels=("no", "yes"))
    model = (
        family_of("logistic")
        .classifier(TrainConfig().section("logistic"), name="logistic", seed=1)
        .fit(train, train, silent)
    )
    model.export(tmp_path / "packaged")
    predictor = load_predictor(tmp_path / "packaged")
    np.testing.assert_allclose(predictor(train.texts), model.predict_proba(train.texts), atol=1e-5)
    assert (predictor(train.texts).argmax(axis=1) == train.labels).mean() > 0.9


@pytest.mark.parametrize("name", ["logistic", "bilstm", "distilbert"])
def test_an_altered_package_is_refused(fitted: Fitted, name: str, tmp_path: Path) -> None:
    model = fitted(name).model
    folder = tmp_path / "packaged"
    model.export(folder)
    victim = next(path for path in sorted(folder.iterdir()) if path.name != "model.json")
    victim.write_bytes(victim.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match=f"{victim.name}' is altered"):
        load_predictor(folder)


@pytest.mark.parametrize("name", NAMES)
def test_progress_only_grows_and_ends_at_one(fitted: Fitted, name: str) -> None:
    fractions = fitted(name).fractions
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
