"""A small packaged model, and files of tweets to score with it."""

from __future__ import annotations

import numpy as np
import pytest

from polarity.families.logistic import LogisticConfig
from polarity.families.registry import family_of
from polarity.inference.package import ModelManifest
from polarity.registry.stored_model import StoredModel
from polarity.text.tweets import Tweets

LABELS = ("negative", "neutral", "positive")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> StoredModel:
    """A logistic regression of three classes."""
    texts = ["awful sad day", "the bus is at noon", "great happy day"] * 40
    tweets = Tweets(texts, np.arange(120) % 3, LABELS)
    classifier = family_of("logistic").classifier(LogisticConfig(char_ngrams=None, min_df=1), name="logistic", seed=0)
    folder = classifier.fit(tweets, tweets, lambda *_, **__: None).export(tmp_path_factory.mktemp("model")).folder
    return StoredModel("logistic (version 1)", folder, ModelManifest.read(folder))
