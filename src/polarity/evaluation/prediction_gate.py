"""The gate before selection: are a fitted model's predictions valid?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from polarity.data.gates import GateResult, validate
from polarity.evaluation.predictions import Predictions


def check_predictions(predictions: Predictions, docs: Path, *, rows: int) -> GateResult:
    """Validate predictions for `rows` tweets with the suite `predictions`; write its Data Docs into `docs`."""
    probabilities = predictions.probabilities
    frame = pd.DataFrame(
        {
            "predicted": np.array(predictions.label_names, dtype=object)[predictions.predicted],
            "total": probabilities.sum(axis=1, dtype=np.float64),
            "lowest": probabilities.min(axis=1),
            "highest": probabilities.max(axis=1),
        }
    )
    labels = list(predictions.label_names)
    return validate(frame, suite="predictions", parameters={"labels": labels, "rows": rows}, docs=docs)
