"""Parity between the predictions of a packaged model and the trained one."""

from __future__ import annotations

import numpy as np

from polarity.errors import ArtifactError
from polarity.text.tweets import FloatArray, IntArray

MAX_DIFFERENCE = 1e-3
MAX_ACCURACY_LOSS = 0.003


def require_parity(trained: FloatArray, packaged: FloatArray, *, what: str) -> dict[str, float]:
    """Check that a package in full precision predicts the same probabilities as the trained model.

    Parameters
    ----------
    trained, packaged : arrays of shape (n, n_labels)
        Predicted probabilities for the same texts.
    what : str
        Description of the package, for the message.

    Returns
    -------
    dict
        The maximum difference of a probability (`max_difference`) and the number of `rows`.

    Raises
    ------
    ArtifactError
        If a probability differs by more than 1e-3.
    """
    difference = float(np.abs(trained - packaged).max(initial=0.0))
    if not difference <= MAX_DIFFERENCE:
        raise ArtifactError(
            f"{what} does not match the trained model: a probability differs by {difference:.2g} "
            f"on {len(trained)} validation tweets; at most {MAX_DIFFERENCE:g} is allowed."
        )
    return {"max_difference": difference, "rows": len(trained)}


def accuracy_loss(trained: FloatArray, packaged: FloatArray, labels: IntArray) -> float:
    """The accuracy of the trained model minus that of the package; negative if the package is better."""
    return float((trained.argmax(axis=1) == labels).mean() - (packaged.argmax(axis=1) == labels).mean())
