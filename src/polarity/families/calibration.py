"""Temperature scaling, and the loss it minimises."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from polarity.text.tweets import IntArray


def fit_temperature(logits: npt.ArrayLike, labels: IntArray) -> float:
    """Fit the temperature that maximises the likelihood of the labels.

    Parameters
    ----------
    logits : array of shape (n, n_labels)
        Logits for tweets that the model was not fitted on.
    labels : int array of shape (n,)
        Their labels.

    Returns
    -------
    float
        Between 0.05 and 20; 1 if there are no tweets.

    Notes
    -----
    C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return 1.0
    scores = np.asarray(logits, dtype=np.float64)

    def loss(log_temperature: float) -> float:
        return loss_and_accuracy(scores / np.exp(log_temperature), labels)["loss"]

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))


def loss_and_accuracy(logits: npt.ArrayLike, labels: IntArray, *, prefix: str = "") -> dict[str, float]:
    """Mean cross-entropy in nats as `<prefix>loss`, and accuracy as `<prefix>accuracy`."""
    from scipy.special import log_softmax

    scores = np.asarray(logits, dtype=np.float64)
    likelihood = log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
    return {
        f"{prefix}loss": -float(likelihood.mean()),
        f"{prefix}accuracy": float((scores.argmax(axis=1) == labels).mean()),
    }
