"""From logits to probabilities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from polarity.text.tweets import FloatArray


def softmax(logits: npt.ArrayLike, *, temperature: float = 1.0) -> FloatArray:
    """Probabilities of logits that are divided by a temperature first.

    Parameters
    ----------
    logits : array of shape (n, n_labels)
        Finite numbers.
    temperature : float
        Above 1 flattens the probabilities, below 1 sharpens them; the most probable label stays.

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
