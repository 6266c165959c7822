"""Calibration: are 80 % of the tweets that are predicted with probability 0.8 correct?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """Tweets whose top probability lies in (low, high]: their mean confidence and their accuracy."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


def reliability(
    labels: npt.NDArray[Any], probabilities: npt.NDArray[Any], *, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Return the non-empty equal-width bins of the reliability diagram (Guo et al. 2017, section 2).

    Parameters
    ----------
    labels : int array of shape (n,)
    probabilities : float array of shape (n, n_labels)
    bins : int, default 15
        Number of bins between 0 and 1.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    confidence = scores.max(axis=1)
    correct = scores.argmax(axis=1) == np.asarray(labels)
    bin_index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    rows = np.bincount(bin_index, minlength=bins)
    confidence_sums, hits = (np.bincount(bin_index, weights=of, minlength=bins) for of in (confidence, correct))
    return tuple(
        ReliabilityBin(
            low=i / bins,
            high=(i + 1) / bins,
            rows=int(rows[i]),
            confidence=float(confidence_sums[i] / rows[i]),
            accuracy=float(hits[i] / rows[i]),
        )
        for i in np.flatnonzero(rows)
    )


def expected_calibration_error(labels: npt.NDArray[Any], probabilities: npt.NDArray[Any], *, bins: int = BINS) -> float:
    """Return the mean gap between confidence and accuracy, weighted by rows (Guo et al. 2017, equation 3)."""
    found = reliability(labels, probabilities, bins=bins)
    return sum(b.rows * abs(b.accuracy - b.confidence) for b in found) / sum(b.rows for b in found)


def brier_score(labels: npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> float:
    """Return the mean squared error of the probabilities (Brier 1950).

    With two classes it is that of the second one, otherwise the sum over the classes.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    truth = np.eye(scores.shape[1])[np.asarray(labels)]
    squared = float(((scores - truth) ** 2).sum(axis=1).mean())
    return squared / 2 if scores.shape[1] == 2 else squared
