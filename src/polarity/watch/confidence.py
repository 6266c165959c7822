"""What the confidence of a served version is worth: measured on its validation tweets, kept in its model's card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from polarity.bento import store as bento_store
from polarity.errors import PolarityError
from polarity.inference.package import ModelManifest
from polarity.watch.expected_accuracy import ConfidenceCalibration

CARD_ENTRY = "confidence"


def card_entry(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, Any]:
    """What a model's card says about its confidence.

    Parameters
    ----------
    probabilities : float array of shape (n_tweets, n_labels)
        On tweets that the model was not fitted on.
    labels : int array of shape (n_tweets,)
        Indices of the true labels.
    """
    given = np.asarray(probabilities, dtype=np.float64)
    calibration = ConfidenceCalibration.fit(given.max(axis=1), given.argmax(axis=1) == np.asarray(labels))
    return {
        "coefficients": calibration.coefficients.tolist(),
        "covariance": calibration.covariance.tolist(),
        "rows": calibration.rows,
    }


class Calibrations(Mapping[str, ConfidenceCalibration]):
    """By version, read from the Bentos in the store when they are asked for."""

    def __getitem__(self, version: str) -> ConfidenceCalibration:
        try:
            card = ModelManifest.read(bento_store.model_folder(f"{bento_store.CHAMPION}:{version}"), check=False).card
        except PolarityError as error:
            raise KeyError(version) from error
        found = card.get(CARD_ENTRY)
        if found is None:
            raise KeyError(version)
        return ConfidenceCalibration(
            np.array(found["coefficients"]), np.array(found["covariance"]), found["rows"], found["rows"]
        )

    def __iter__(self) -> Iterator[str]:
        return (tag.partition(":")[2] for tag in bento_store.tags())

    def __len__(self) -> int:
        return len(bento_store.tags())
