"""The MLflow pyfunc loader of a packaged model: `mlflow.pyfunc.load_model("models:/sentiment@champion")`.

Saved models refer to this module by name, so it must not move.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from polarity.errors import ConfigurationError
from polarity.families.packaging import load_predictor
from polarity.inference.predictor import Predictor

LOADER = __name__
TEXT = "text"


class PyfuncModel:
    """A packaged model behind MLflow's pyfunc interface."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: pd.DataFrame | Iterable[str], params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classify texts.

        Parameters
        ----------
        model_input : DataFrame, or list (or any other iterable) of str
            A frame needs a column `text`, or has only one column.
        params : dict, optional
            Part of MLflow's interface; not used.

        Returns
        -------
        DataFrame
            The column `sentiment`, and one column `p_<label>` per label.

        Raises
        ------
        ConfigurationError
            If a frame has several columns and none of them is `text`, or if a text is not a string.
        """
        texts = _texts(model_input)
        probabilities = self._predictor(texts)
        labels = list(self._predictor.labels)
        frame = pd.DataFrame(probabilities, columns=[f"p_{label}" for label in labels])
        frame.insert(0, "sentiment", [labels[i] for i in probabilities.argmax(axis=1)])
        return frame


def _texts(model_input: pd.DataFrame | Iterable[str]) -> list[str]:
    if isinstance(model_input, pd.DataFrame):
        if TEXT not in model_input and len(model_input.columns) != 1:
            columns = ", ".join(map(str, model_input.columns))
            raise ConfigurationError(f"The frame has the columns {columns}; one of them must be `{TEXT}`.")
        model_input = model_input[TEXT] if TEXT in model_input else model_input.iloc[:, 0]
    texts = [model_input] if isinstance(model_input, str) else list(model_input)
    wrong = next((text for text in texts if not isinstance(text, str)), None)
    if wrong is not None:
        raise ConfigurationError(f"Got {wrong!r} among the texts; every text must be a string.")
    return texts


def _load_pyfunc(path: str) -> PyfuncModel:
    """Load the packaged model in the folder `path` (MLflow calls this function by name)."""
    return PyfuncModel(load_predictor(Path(path)))
