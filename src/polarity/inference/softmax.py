"""The softmax function."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from polarity.text.tweets import FloatArray


def softmax(logits: npt.ArrayLike, *, temperature: float = 1.0) -> FloatArray:
    """Convert logits to probabilities, after dividing them by a temperature.

    Parameters
    ----------
    logits : array of shape (n, n_labels)
        Finite numbers.
    temperature : float
        Values above 1 flatten the probabilities, values below 1 sharpen them; the ranking of labels is unchanged.

    Returns
    -------
    float32 array of shape (n, n_labels)
        Rows sum to 1.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    weights = np.exp(scaled)
    probabilities: FloatArray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities
