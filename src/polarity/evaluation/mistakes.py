"""The most confident errors with the words that drove them, and probable label errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import TypeAdapter

from polarity.evaluation.predictions import Predictions
from polarity.inference.predictor import Predict
from polarity.text.segmentation import without_span, word_spans
from polarity.text.tweets import FloatArray

WORDS_KEPT = 4
MAX_WORDS = 60


@dataclass(frozen=True)
class DrivingWord:
    """A word, and the drop in the answer's log-odds when it is removed."""

    word: str
    share: float


@dataclass(frozen=True)
class Mistake:
    """A tweet whose predicted label differs from its true label."""

    text: str
    label: str
    answered: str
    probability: float
    words: tuple[DrivingWord, ...]


@dataclass(frozen=True)
class SuspectedLabel:
    """A tweet whose label is probably wrong, with the suggested label and its probability."""

    text: str
    label: str
    suggested: str
    probability: float


@dataclass(frozen=True)
class MistakeReport:
    """Errors and suspected label errors of one model on one split."""

    rows: int
    errors: int
    mistakes: tuple[Mistake, ...]
    suspected: int
    suspected_labels: tuple[SuspectedLabel, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-compatible types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, report: Mapping[str, Any]) -> Self:
        """Rebuild a report from the output of `to_dict`."""
        return TypeAdapter(cls).validate_python(report)

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_text(json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote."""
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))


def find_mistakes(predict: Predict, predictions: Predictions, *, shown: int = 20) -> MistakeReport:
    """Find the most confident errors, with an explanation, and the probable label errors.

    Parameters
    ----------
    predict : callable
        Maps texts to probabilities of shape (n, n_labels); the model that made `predictions`.
    predictions : Predictions
        Predictions for tweets that the model was not fitted on, with the column `text`.
    shown : int, default 20
        Maximum number of each to keep.
    """
    texts = [str(text) for text in predictions.columns["text"]]
    names = predictions.label_names
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    worst = wrong[np.argsort(-predictions.probabilities.max(axis=1)[wrong], kind="stable")][:shown]
    answers = predictions.predicted[worst]
    words = driving_words(predict, [texts[row] for row in worst], answers)
    suspects = suspected_labels(predictions.labels, predictions.probabilities)
    return MistakeReport(
        rows=len(predictions),
        errors=len(wrong),
        mistakes=tuple(
            Mistake(
                text=texts[row],
                label=names[predictions.labels[row]],
                answered=names[answer],
                probability=float(predictions.probabilities[row, answer]),
                words=of_text,
            )
            for row, answer, of_text in zip(worst, answers, words, strict=True)
        ),
        suspected=len(suspects),
        suspected_labels=tuple(
            SuspectedLabel(
                texts[row], names[predictions.labels[row]], names[to], float(predictions.probabilities[row, to])
            )
            for row, to in suspects[:shown]
        ),
    )


def driving_words(
    predict: Predict, texts: Sequence[str], answers: Sequence[int], *, kept: int = WORDS_KEPT
) -> list[tuple[DrivingWord, ...]]:
    """Find the words of each text that contribute most to its answer, by occlusion.

    Each word is removed in turn (Li, Monroe and Jurafsky 2016, Understanding
    Neural Networks through Representation Erasure); the drop in the log-odds of
    the answer is the word's share. Words with less than a tenth of the largest
    share are omitted, and only the first 60 words are tried.

    Parameters
    ----------
    predict : callable
        Maps texts to probabilities of shape (n, n_labels).
    texts : sequence of str
    answers : sequence of int
        Index of the label to explain for each text.
    kept : int, default 4
        Maximum number of words per text.

    Returns
    -------
    list of tuple of DrivingWord
        For each text, the largest share first.
    """
    spans = [word_spans(text)[:MAX_WORDS] for text in texts]
    changed = [without_span(text, *span) for text, found in zip(texts, spans, strict=True) for span in found]
    whole = predict(list(texts)) if texts else np.empty((0, 1), np.float32)
    without = predict(changed) if changed else np.empty((0, whole.shape[1]), np.float32)
    found: list[tuple[DrivingWord, ...]] = []
    start = 0
    for row, (text, found_at, answer) in enumerate(zip(texts, spans, answers, strict=True)):
        words = [text[begin:end] for begin, end in found_at]
        shares = _log_odds(whole[row, answer]) - _log_odds(without[start : start + len(words), answer])
        start += len(words)
        best = np.argsort(-shares, kind="stable")[:kept]
        least = max(shares.max(initial=0.0) / 10, 1e-6)
        found.append(tuple(DrivingWord(words[i], float(shares[i])) for i in best if shares[i] >= least))
    return found


def _log_odds(probability: Any) -> Any:
    clipped = np.clip(np.asarray(probability, dtype=np.float64), 1e-7, 1 - 1e-7)
    return np.log(clipped / (1 - clipped))


def suspected_labels(labels: Sequence[int] | np.ndarray[Any, Any], probabilities: FloatArray) -> list[tuple[int, int]]:
    """Find rows whose label is probably wrong, with the suggested label, by confident learning.

    A row is suspected if its probability of another class reaches that class's
    threshold (the mean probability of that class among its own rows) and
    exceeds the probability of the given one (Northcutt, Jiang and Chuang 2021,
    Confident Learning, JAIR 70, section 3.1). Rows are sorted by the
    margin between the two classes, largest first.

    Parameters
    ----------
    labels : int array of shape (n,)
    probabilities : float array of shape (n, n_labels)
        Predictions for rows that the model was not fitted on.

    Returns
    -------
    list of (row, class)
    """
    true, scores = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    n_labels = scores.shape[1]
    thresholds = np.array(
        [scores[true == label, label].mean() if (true == label).any() else np.inf for label in range(n_labels)]
    )
    confident = np.where(scores >= thresholds, scores, -np.inf)
    seems = confident.argmax(axis=1)
    margin = scores[np.arange(len(true)), seems] - scores[np.arange(len(true)), true]
    suspects = np.flatnonzero(np.isfinite(confident).any(axis=1) & (seems != true) & (margin > 0))
    ordered = suspects[np.argsort(-margin[suspects], kind="stable")]
    return [(int(row), int(seems[row])) for row in ordered]
