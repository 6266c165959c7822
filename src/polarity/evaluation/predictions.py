"""A classifier's predictions for labelled tweets, in memory and as a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from polarity.errors import ArtifactError, ConfigurationError
from polarity.evaluation.metrics import Metrics, measure
from polarity.inference.predictor import Predict
from polarity.text.tweets import FloatArray, IntArray

PREFIX = "p_"
KEY = "key"
"""Column with the key of each tweet's text; see `polarity.data.splits`."""
CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Predictions:
    """Predicted probabilities with the true labels.

    Parameters
    ----------
    labels : int array of shape (n,)
        True labels, as indices into `label_names`.
    probabilities : float32 array of shape (n, n_labels)
    label_names : tuple of str
    columns : DataFrame of n rows
        The other columns of each tweet (text, key, block, date ...).
    """

    labels: IntArray
    probabilities: FloatArray
    label_names: tuple[str, ...]
    columns: pd.DataFrame

    @property
    def predicted(self) -> IntArray:
        """Index of the most probable label of each tweet, of shape (n,)."""
        winners: IntArray = self.probabilities.argmax(axis=1).astype(np.int64)
        return winners

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def groups(self) -> IntArray | None:
        """A number for each tweet, of shape (n,), equal for tweets with the same `key`; None without that column."""
        if KEY not in self.columns:
            return None
        codes: IntArray = pd.factorize(self.columns[KEY])[0].astype(np.int64)
        return codes

    def measure(self, *, seed: int, resamples: int = 1000) -> Metrics:
        """Compute the metrics of these predictions; see `polarity.evaluation.metrics.measure`."""
        return measure(
            self.labels,
            self.probabilities,
            label_names=self.label_names,
            seed=seed,
            resamples=resamples,
            groups=self.groups,
        )

    def write(self, path: Path) -> Path:
        """Write Parquet with `label`, `predicted`, one `p_<label>` per label, and the other columns."""
        names = np.array(self.label_names, dtype=object)
        frame = pd.DataFrame({"label": names[self.labels], "predicted": names[self.predicted]})
        for i, name in enumerate(self.label_names):
            frame[PREFIX + name] = self.probabilities[:, i]
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.concat([frame, self.columns.reset_index(drop=True)], axis=1).to_parquet(path, index=False)
        return path

    @classmethod
    def read(cls, path: Path, label_names: Sequence[str]) -> Predictions:
        """Read what `write` wrote.

        Raises
        ------
        ArtifactError
            If the file is missing or was written for a different class set.
        """
        names = tuple(label_names)
        wanted = ["label", "predicted", *(PREFIX + name for name in names)]
        try:
            frame = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"Cannot read the predictions {path}: {error}. Run the evaluation again.") from error
        if missing := [column for column in wanted if column not in frame.columns]:
            raise ArtifactError(
                f"The predictions {path} lack the columns {missing}; they do not belong to the class set "
                f"{list(names)}. Run the evaluation again."
            )
        return cls(
            labels=_indices(frame["label"], names),
            probabilities=frame[wanted[2:]].to_numpy(dtype=np.float32),
            label_names=names,
            columns=frame.drop(columns=wanted),
        )


def predict_rows(predict: Predict, rows: pd.DataFrame, label_names: Sequence[str]) -> Predictions:
    """Predict the column `text` of labelled `rows` (columns `text`, `label` and any others), in chunks.

    `predict` may be a `polarity.inference.predictor.Predictor` or a fitted
    classifier's `predict_proba`.

    Raises
    ------
    ConfigurationError
        If a label is not in `label_names`.
    """
    names = tuple(label_names)
    texts = rows["text"].tolist()
    parts = [predict(texts[start : start + CHUNK_ROWS]) for start in range(0, len(texts), CHUNK_ROWS)]
    probabilities = np.concatenate(parts) if parts else np.empty((0, len(names)), np.float32)
    return Predictions(
        labels=_indices(rows["label"], names),
        probabilities=probabilities.astype(np.float32, copy=False),
        label_names=names,
        columns=rows.drop(columns="label").reset_index(drop=True),
    )


def _indices(labels: pd.Series[str], names: tuple[str, ...]) -> IntArray:
    """Return the index of each label name."""
    codes = pd.Index(names).get_indexer(pd.Index(labels.astype(str)))
    if (codes < 0).any():
        unknown = sorted(set(labels.astype(str)[codes < 0]))[:5]
        raise ConfigurationError(f"Got unknown labels {unknown}; the class set is {list(names)}.")
    return codes.astype(np.int64)
