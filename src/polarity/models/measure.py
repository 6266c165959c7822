"""Loss and accuracy of logits, for learning curves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from polarity.data.tweets import IntArray


def loss_and_accuracy(logits: npt.ArrayLike, labels: IntArray, *, prefix: str = "") -> dict[str, float]:
    """Mean cross-entropy in nats as `<prefix>loss`, share of right answers as `<prefix>accuracy`."""
    scores = np.asarray(logits, dtype=np.float64)
    likelihood = log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
    return {
        f"{prefix}loss": -float(likelihood.mean()),
        f"{prefix}accuracy": float((scores.argmax(axis=1) == labels).mean()),
    }
