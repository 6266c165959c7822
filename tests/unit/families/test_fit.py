"""The job of a fit: its record, and the rows that it used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from polarity.errors import ConfigurationError
from polarity.families import logistic
from polarity.families.fit import FIT_FILE, PACKAGED, TRAINING_ROWS, fit_model
from polarity.families.packaging import load_predictor
from polarity.families.registry import family_of
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.faults import worth_retrying
from polarity.pipeline.graph import Fitted
from polarity.text.tweets import Tweets
from tests.unit.families.conftest import LABELS, SMALL, silent


def fit(folder: Path, train: Tweets, validation: Tweets, name: str = "logistic", **options: Any) -> Fitted:
    """Fit a model as a run does, but in this process."""
    config = TrainConfig.model_validate({name: {**SMALL[name], **options}})
    folder.mkdir()
    for split, tweets in (("train", train), ("validation", validation)):
        labels = [tweets.label_names[label] for label in tweets.labels]
        pd.DataFrame({"text": tweets.texts, "label": labels}).to_parquet(folder / f"{split}.parquet")
    job = {
        "name": name,
        "family": family_of(name).name,
        "section": config.section(name).model_dump(mode="json"),
        "seed": 3,
        "labels": list(train.label_names),
        "train": str(folder / "train.parquet"),
        "validation": str(folder / "validation.parquet"),
        "folder": str(folder),
    }
    fit_model(job, silent)
    return Fitted(folder)


@pytest.mark.parametrize(("limit", "used"), [(None, 400), (150, 150), (1000, 400)])
def test_a_fit_writes_down_the_rows_that_it_used(
    tmp_path: Path, train_tweets: Tweets, validation_tweets: Tweets, limit: int | None, used: int
) -> None:
    fitted = fit(tmp_path / "fit", train_tweets, validation_tweets, train_rows=limit)
    rows = fitted.training_rows
    assert rows.dtype == np.int64
    assert len(rows) == used == fitted.record["train_rows"] == fitted.record["history"]["notes"]["train_rows"]
    assert rows.tolist() == sorted(set(rows.tolist()))
    alone = fit(tmp_path / "alone", train_tweets.take(rows), validation_tweets)
    texts = validation_tweets.texts
    predicted, expected = (load_predictor(of.packaged)(texts) for of in (fitted, alone))
    np.testing.assert_array_equal(predicted, expected, "the model is that of these rows")
    assert json.loads((tmp_path / "fit" / FIT_FILE).read_text()) == fitted.record
    assert (tmp_path / "fit" / PACKAGED).is_dir() and (tmp_path / "fit" / TRAINING_ROWS).is_file()


def test_the_same_fit_writes_the_same_rows(tmp_path: Path, train_tweets: Tweets, validation_tweets: Tweets) -> None:
    fits = [fit(tmp_path / name, train_tweets, validation_tweets, train_rows=200) for name in "ab"]
    assert fits[0].rows_digest == fits[1].rows_digest
    assert fit(tmp_path / "c", train_tweets, validation_tweets, train_rows=201).rows_digest != fits[0].rows_digest


def test_the_learning_curve_of_sorted_tweets_is_measured_on_all_classes(
    tmp_path: Path, train_tweets: Tweets, validation_tweets: Tweets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logistic, "CURVE_ROWS", 60)
    train, validation = (
        tweets.take(np.argsort(tweets.labels, kind="stable")) for tweets in (train_tweets, validation_tweets)
    )
    # the tweets of the first class say the opposite on validation, so that its accuracy differs from the others'
    opposite = ["great love happy" if label == 0 else text for text, label in zip(validation.texts, validation.labels)]
    validation = Tweets(opposite, validation.labels, LABELS)
    fitted = fit(tmp_path / "fit", train, validation)
    last = fitted.record["history"]["epochs"][-1]
    predicted = load_predictor(fitted.packaged)(validation.texts).argmax(axis=1)
    accuracy = (predicted == validation.labels).mean()
    assert 0.5 < accuracy < 0.8
    assert last["validation_accuracy"] == pytest.approx(accuracy, abs=0.05), "of one class alone it would be 0"


@pytest.mark.realdata
def test_the_learning_curve_of_sentiment140_in_its_order_is_measured_on_both_classes(
    tmp_path: Path, shared_data: Path
) -> None:
    columns = ["label", "id", "date", "query", "user", "text"]
    source = pd.read_csv(shared_data / "sentiment140_sample.csv.gz", names=columns, encoding="latin-1", dtype=str)
    tweets = source[source["label"].isin(["0", "4"])].sort_values("label", kind="stable")
    sample = tweets.iloc[np.linspace(0, len(tweets) - 1, 44_000).astype(int)]
    every = Tweets(
        sample["text"].tolist(), (sample["label"] == "4").to_numpy().astype(np.int64), ("negative", "positive")
    )
    train, validation = every.take(np.arange(0, 44_000, 2)), every.take(np.arange(1, 44_000, 2))
    assert not train.labels[: logistic.CURVE_ROWS].any(), "it is sorted by label"
    fitted = fit(tmp_path / "fit", train, validation, char_ngrams=None, max_iter=8)
    first, last = (fitted.record["history"]["epochs"][place] for place in (0, -1))
    for prefix, tweets in (("", train), ("validation_", validation)):
        predicted = load_predictor(fitted.packaged)(tweets.texts).argmax(axis=1)
        assert last[f"{prefix}accuracy"] == pytest.approx((predicted == tweets.labels).mean(), abs=0.01)
    assert last["loss"] < first["loss"]


NOT_A_NUMBER = r"training loss is (nan|inf) in epoch 1, batch"
TOO_HIGH = r"lowest validation loss .* is \d"


@pytest.mark.parametrize(
    ("name", "rate", "loss"),
    [
        ("bilstm", 1e38, NOT_A_NUMBER),
        ("distilbert", 1e10, TOO_HIGH),
        pytest.param("bilstm", 1e10, TOO_HIGH, marks=pytest.mark.soak),
        pytest.param("distilbert", 1e38, NOT_A_NUMBER, marks=pytest.mark.soak),
    ],
)
def test_a_diverged_fit_names_the_option_to_change(
    tmp_path: Path, train_tweets: Tweets, validation_tweets: Tweets, name: str, rate: float, loss: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"{loss}.*Lower --{name}\.learning_rate") as error:
        fit(tmp_path / "fit", train_tweets, validation_tweets, name, learning_rate=rate, epochs=1)
    assert f"which is {rate:g}" in str(error.value)
    assert not worth_retrying(error.value)
