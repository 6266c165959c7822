"""The MLflow pyfunc loader of a packaged model: `mlflow.pyfunc.load_model("models:/sentiment@champion")`.

Saved models refer to this module by name, so it must not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from polarity.families.packaging import load_predictor
from polarity.inference.predictor import Predictor

LOADER = __name__


class PyfuncModel:
    """A packaged model behind MLflow's pyfunc interface."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: pd.DataFrame | Sequence[str], params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classify the column `text` of a frame, or a sequence of texts: `sentiment` and one `p_<label>` per label."""
        texts = model_input["text"] if isinstance(model_input, pd.DataFrame) else model_input
        probabilities = self._predictor(list(texts))
        labels = list(self._predictor.labels)
        frame = pd.DataFrame(probabilities, columns=[f"p_{label}" for label in labels])
        frame.insert(0, "sentiment", [labels[i] for i in probabilities.argmax(axis=1)])
        return frame


def _load_pyfunc(path: str) -> PyfuncModel:
    """Load the packaged model in the folder `path` (MLflow calls this function by name)."""
    return PyfuncModel(load_predictor(Path(path)))
