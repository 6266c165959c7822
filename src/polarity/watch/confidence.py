"""Calibration of a version's confidence: fitted on its validation tweets, and kept in its model's card."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
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


@cache
def calibration_of(version: str) -> ConfidenceCalibration | None:
    """What the card of a promoted version says about its confidence; None if it says nothing, or the Bento is gone."""
    try:
        card = ModelManifest.read(bento_store.model_folder(f"{bento_store.CHAMPION}:{version}"), check=False).card
    except PolarityError:
        return None
    return None if (found := card.get(CARD_ENTRY)) is None else calibration_from(found)


def calibration_from(found: Mapping[str, Any]) -> ConfidenceCalibration:
    """Read what `card_entry` returned."""
    return ConfidenceCalibration(
        np.array(found["coefficients"]), np.array(found["covariance"]), found["rows"], found["rows"]
    )
