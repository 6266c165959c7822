"""Temperature scaling: probabilities that can be taken at their word."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from polarity.data.tweets import IntArray
from polarity.models.measure import loss_and_accuracy


def fit_temperature(logits: npt.ArrayLike, labels: IntArray) -> float:
    """The temperature that makes the labels most likely.

    Parameters
    ----------
    logits : array of shape (n, n_labels)
        Logits of tweets that the model was not fitted on.
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
    if not len(labels):
        return 1.0
    scores = np.asarray(logits, dtype=np.float64)

    def loss(log_temperature: float) -> float:
        return loss_and_accuracy(scores / np.exp(log_temperature), labels)["loss"]

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))
