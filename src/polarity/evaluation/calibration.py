"""Whether probabilities can be trusted: of the tweets scored 0.8, are four in five right?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """Tweets whose winning probability lies in (low, high]: how sure the model was, and how often it was right."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


def reliability(
    labels: npt.NDArray[Any], probabilities: npt.NDArray[Any], *, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram's bins of equal width that hold any tweet (Guo et al. 2017, section 2).

    Parameters
    ----------
    labels : int array of shape (n,)
    probabilities : float array of shape (n, n_labels)
    bins : int, default 15
        Bins between 0 and 1.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    confidence = scores.max(axis=1)
    right = scores.argmax(axis=1) == np.asarray(labels)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    rows = np.bincount(place, minlength=bins)
    sure, correct = (np.bincount(place, weights=of, minlength=bins) for of in (confidence, right))
    return tuple(
        ReliabilityBin(
            low=i / bins,
            high=(i + 1) / bins,
            rows=int(rows[i]),
            confidence=float(sure[i] / rows[i]),
            accuracy=float(correct[i] / rows[i]),
        )
        for i in np.flatnonzero(rows)
    )


def expected_calibration_error(labels: npt.NDArray[Any], probabilities: npt.NDArray[Any], *, bins: int = BINS) -> float:
    """Mean gap between confidence and accuracy over the bins, weighted by rows (Guo et al. 2017, equation 3)."""
    found = reliability(labels, probabilities, bins=bins)
    return sum(b.rows * abs(b.accuracy - b.confidence) for b in found) / sum(b.rows for b in found)


def brier_score(labels: npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> float:
    """Mean squared error of the probabilities (Brier 1950).

    Of the second class where there are two, else summed over the classes.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    truth = np.eye(scores.shape[1])[np.asarray(labels)]
    squared = float(((scores - truth) ** 2).sum(axis=1).mean())
    return squared / 2 if scores.shape[1] == 2 else squared
