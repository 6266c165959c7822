from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from polarity.families.packaging import load_predictor
from polarity.families.protocol import FittedClassifier
from polarity.families.registry import family_of
from polarity.inference.predictor import Predictor
from polarity.pipeline.config import TrainConfig
from polarity.text.tweets import Tweets

LABELS = ("negative", "neutral", "positive")
WORDS = (("awful", "sad", "hate"), ("table", "door", "monday"), ("great", "love", "happy"))

SMALL: dict[str, dict[str, Any]] = {
    "logistic": {},
    "bilstm": {"units": 6, "vector_size": 12, "epochs": 12, "learning_rate": 0.02, "patience": 3},
    "distilbert": {"encoder": "random", "epochs": 6, "learning_rate": 5e-3},
    "bert": {"encoder": "random", "epochs": 6, "learning_rate": 5e-3},
    "roberta": {"encoder": "random", "epochs": 8, "learning_rate": 2e-3},
}
# With 400 tweets it depends on the seed whether this random encoder tells all three classes apart.
ROWS = {"roberta": 1200}


def make_tweets(rows: int, *, seed: int, labels: tuple[str, ...] = LABELS) -> Tweets:
    """Tweets of a few words, one of which determines the label."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, len(labels), rows)
    texts = []
    for label in classes:
        filling = random.choice(["the", "a", "so", "@you", "!", "http://t.co/x", "#tag"], random.integers(1, 9))
        texts.append(" ".join(random.permutation([*filling, random.choice(WORDS[label])])))
    return Tweets(texts, classes.astype(np.int64), labels)


def silent(fraction: float, message: str, **metrics: float) -> None:
    """A progress callback that ignores its reports."""


@pytest.fixture(scope="session")
def train_tweets() -> Tweets:
    return make_tweets(400, seed=1)


@pytest.fixture(scope="session")
def validation_tweets() -> Tweets:
    return make_tweets(150, seed=2)


@dataclass(frozen=True)
class Fit:
    """A fitted model, its package, and what was reported on the way."""

    model: FittedClassifier
    predictor: Predictor
    fractions: list[float]


@pytest.fixture(scope="session")
def fitted(
    train_tweets: Tweets, validation_tweets: Tweets, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Fit]:
    """Fit a small model of a name once and pack it; the networks take some seconds."""
    done: dict[str, Fit] = {}

    def fit(name: str) -> Fit:
        if name not in done:
            config = TrainConfig.model_validate({name: SMALL[name]})
            fractions: list[float] = []
            model = (
                family_of(name)
                .classifier(config.section(name), name=name, seed=3)
                .fit(
                    make_tweets(ROWS[name], seed=1) if name in ROWS else train_tweets,
                    validation_tweets,
                    lambda fraction, message, **metrics: fractions.append(fraction),
                )
            )
            folder = tmp_path_factory.mktemp(name) / "packaged"
            model.export(folder)
            done[name] = Fit(model, load_predictor(folder), fractions)
        return done[name]

    return fit
