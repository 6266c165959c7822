"""Does the packaged model answer as the trained one does?"""

from __future__ import annotations

import numpy as np

from polarity.errors import ArtifactError
from polarity.text.tweets import FloatArray, IntArray

MAX_DIFFERENCE = 1e-3
MAX_ACCURACY_LOSS = 0.003


def require_parity(trained: FloatArray, packaged: FloatArray, *, what: str) -> dict[str, float]:
    """Hold a package of full precision against the model that was trained.

    Parameters
    ----------
    trained, packaged : arrays of shape (n, n_labels)
        Probabilities of the same texts.
    what : str
        The package, for the message.

    Returns
    -------
    dict
        `max_difference` of a probability, and the number of `rows`.

    Raises
    ------
    ArtifactError
        If a probability differs by more than 1e-3.
    """
    difference = float(np.abs(trained - packaged).max(initial=0.0))
    if not difference <= MAX_DIFFERENCE:
        raise ArtifactError(
            f"{what} does not answer as the trained model: a probability differs by {difference:.2g} "
            f"on {len(trained)} validation tweets; at most {MAX_DIFFERENCE:g} is allowed."
        )
    return {"max_difference": difference, "rows": len(trained)}


def accuracy_loss(trained: FloatArray, packaged: FloatArray, labels: IntArray) -> float:
    """By how much the accuracy of the package is lower; negative where it is higher."""
    return float((trained.argmax(axis=1) == labels).mean() - (packaged.argmax(axis=1) == labels).mean())
