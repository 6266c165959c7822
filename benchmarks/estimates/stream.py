"""Real tweets as the stream of a served model: what it answers, how sure it is, and what a stronger model thinks of it.

The sample of Sentiment140 is divided at random into tweets to train on, tweets to calibrate on, and the stream. Of
tweets with the same normalised text one is kept, so that those of the stream are independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from polarity.config.sections import DataConfig
from polarity.data.sources import read_tweets
from polarity.data.splits import normalise
from polarity.families.logistic import FittedLogistic, Logistic, LogisticConfig
from polarity.text.cleaning import repair
from polarity.text.ngrams import word_ngrams
from polarity.text.tweets import Tweets
from polarity.text.words import KnownWords
from polarity.watch.drift import AnsweredTweets

LABELS = ("negative", "positive")
TRAIN_SHARE, VALIDATION_SHARE = 0.6, 0.05
SMALL_ROWS = 20_000
SEED = 11

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stream:
    """Tweets as a served model answered them.

    Parameters
    ----------
    texts : sequence of str, length n
    tweets : AnsweredTweets
        How they are described when they are recorded, or packed with the model.
    block : str array of shape (n,)
        The part of the original file that a tweet is from.
    correct : bool array of shape (n,)
        Whether the served model's answer is the label.
    confidence : float array of shape (n,)
        The served model's probability of its answer.
    stronger : float array of shape (n,)
        A stronger model's probability of the served model's answer.
    """

    texts: Sequence[str]
    tweets: AnsweredTweets
    block: npt.NDArray[Any]
    correct: npt.NDArray[np.bool_]
    confidence: Floats
    stronger: Floats

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def accuracy(self) -> float:
        """The true accuracy, which in production nobody knows."""
        return float(self.correct.mean())


class Ensemble:
    """The stronger model: both kinds of n-gram models, combined by a third on validation tweets."""

    def __init__(self, train: Tweets, validation: Tweets, member: FittedLogistic) -> None:
        from scipy import sparse
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression

        # logistic regression on naive Bayes features: Wang and Manning 2012, ACL, section 2.3
        self._member = member
        self._words = CountVectorizer(analyzer=lambda text: word_ngrams(text, shortest=1, longest=3), min_df=2)
        counts = (self._words.fit_transform(train.texts) > 0).astype(np.float64)
        positive, negative = (np.asarray(counts[train.labels == label].sum(axis=0)).ravel() + 1 for label in (1, 0))
        self._ratios = sparse.diags(np.log(positive / positive.sum()) - np.log(negative / negative.sum()))
        self._bayes = LogisticRegression(C=0.5, max_iter=200).fit(counts @ self._ratios, train.labels)
        self._combined = LogisticRegression(C=1e6).fit(self._logits(validation.texts), validation.labels)

    def _logits(self, texts: Sequence[str]) -> Floats:
        probabilities = np.clip(self._member.predict_proba(texts)[:, 1].astype(np.float64), 1e-6, 1 - 1e-6)
        counts = (self._words.transform(texts) > 0).astype(np.float64)
        return np.column_stack(
            [np.log(probabilities / (1 - probabilities)), self._bayes.decision_function(counts @ self._ratios)]
        )

    def predict_proba(self, texts: Sequence[str]) -> Floats:
        """Probabilities of shape (n_texts, n_labels)."""
        found: Floats = self._combined.predict_proba(self._logits(texts))
        return found


@dataclass(frozen=True)
class Models:
    """Two served models, and the stronger one: the project's own on all tweets, and a small one."""

    served: FittedLogistic
    small: FittedLogistic
    stronger: Ensemble

    @property
    def served_ones(self) -> dict[str, FittedLogistic]:
        """The served models by name."""
        return {"served": self.served, "small": self.small}


def read_frame(file: Path, *, seed: int = SEED) -> pd.DataFrame:
    """Read tweets with one of the two labels in random order: `text`, `label` (0 or 1), and the file's own columns."""
    frame: pd.DataFrame = read_tweets(DataConfig(path=file), LABELS).table.to_pandas()
    frame = frame[frame["label"].isin(LABELS) & frame["text"].notna()]
    frame = frame.assign(
        text=[repair(text) for text in frame["text"]], label=(frame["label"] == LABELS[1]).astype(np.int64)
    )
    keys = pd.Series([normalise(text) for text in frame["text"]], index=frame.index)
    frame = frame[~keys.duplicated() & (frame["label"].groupby(keys).transform("nunique") == 1)]
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


def split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the tweets to train on, to calibrate on, and of the stream."""
    edges = [int(len(frame) * TRAIN_SHARE), int(len(frame) * (TRAIN_SHARE + VALIDATION_SHARE))]
    return frame[: edges[0]], frame[edges[0] : edges[1]], frame[edges[1] :].reset_index(drop=True)


def fit_logistic(train: pd.DataFrame, validation: pd.DataFrame, **options: Any) -> FittedLogistic:
    """Fit the project's logistic regression."""
    classifier = Logistic().classifier(LogisticConfig(**options), name="served", seed=SEED)
    return classifier.fit(as_tweets(train), as_tweets(validation), lambda *_, **__: None)


def fit_models(train: pd.DataFrame, validation: pd.DataFrame) -> Models:
    """Fit the three models."""
    served = fit_logistic(train, validation)
    small = fit_logistic(train[:SMALL_ROWS], validation, char_ngrams=None)
    return Models(served, small, Ensemble(as_tweets(train), as_tweets(validation), served))


def answered(
    frame: pd.DataFrame, served: FittedLogistic, stronger: Ensemble | None = None, known: KnownWords | None = None
) -> Stream:
    """Let the served model answer the tweets, and the stronger one judge the answers (the served one, without it)."""
    texts = frame["text"].tolist()
    probabilities = served.predict_proba(texts).astype(np.float64)
    answers, rows = probabilities.argmax(axis=1), np.arange(len(texts))
    judged = probabilities if stronger is None else stronger.predict_proba(texts)
    block = frame["block"].to_numpy() if "block" in frame else np.full(len(texts), "")
    correct = answers == frame["label"].to_numpy()
    tweets = AnsweredTweets.of(texts, probabilities, labels=frame["label"].to_numpy(), known=known)
    return Stream(texts, tweets, block, correct, probabilities[rows, answers], judged[rows, answers])


def as_tweets(frame: pd.DataFrame) -> Tweets:
    """Return the tweets of a frame."""
    return Tweets(frame["text"].tolist(), frame["label"].to_numpy(), LABELS)


def take(stream: Stream, rows: npt.NDArray[Any]) -> Stream:
    """Return the tweets of these rows."""
    return Stream(
        [stream.texts[row] for row in rows],
        stream.tweets[rows],
        stream.block[rows],
        stream.correct[rows],
        stream.confidence[rows],
        stream.stronger[rows],
    )
