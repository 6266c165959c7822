"""A folder with a packaged model's predictions and metrics on some splits.

predictions/<split>.parquet    the tweets with the predicted probabilities
metrics.json                   {split: METRICS}
slices.json                    {split: {slice: {value: METRICS}}}, for the requested splits
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from polarity.evaluation.metrics import Metrics
from polarity.evaluation.predictions import Predictions, predict_rows
from polarity.evaluation.slices import slice_metrics
from polarity.families.packaging import load_predictor
from polarity.text.tweets import IntArray

METRICS_FILE = "metrics.json"
SLICES_FILE = "slices.json"


@dataclass(frozen=True)
class Scorecard:
    """A folder written by `write_scorecard`."""

    folder: Path
    label_names: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, Metrics]:
        """Metrics by split."""
        record = json.loads((self.folder / METRICS_FILE).read_text())
        return {split: Metrics.from_dict(figures) for split, figures in record.items()}

    @property
    def slices(self) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
        """Metrics by split, slice and value of the slice."""
        record: dict[str, dict[str, dict[str, dict[str, object]]]] = json.loads((self.folder / SLICES_FILE).read_text())
        return record

    def predictions(self, split: str) -> Predictions:
        """Read the predictions on one split."""
        return Predictions.read(self.folder / "predictions" / f"{split}.parquet", self.label_names)


def write_scorecard(
    packaged: Path,
    splits: Mapping[str, Path],
    folder: Path,
    *,
    label_names: Sequence[str],
    seed: int,
    among: Mapping[str, IntArray] | None = None,
    max_rows: Mapping[str, int] | None = None,
    sliced: Sequence[str] = (),
) -> Scorecard:
    """Evaluate the packaged model on `splits`.

    Parameters
    ----------
    packaged : Path
        Folder of the packaged model.
    splits : mapping of str to Path
        Parquet files with `text`, `label` and any other columns of the source.
    folder : Path
        Output folder.
    label_names : sequence of str
        The class set.
    seed : int
        Seed of the bootstrap and of the sampling of large splits.
    among : mapping of str to int array, optional
        The rows of a split to choose from, by split, e.g. those that the model was fitted on. Default: all.
    max_rows : mapping of str to int, optional
        Maximum number of rows to evaluate, by split (the training split is large and adds little); they are drawn at
        random.
    sliced : sequence of str
        Splits that are also measured by slice.
    """
    predictor = load_predictor(packaged)
    metrics, slices = {}, {}
    for split, path in splits.items():
        rows = pd.read_parquet(path)
        if among and split in among:
            rows = rows.iloc[among[split]].reset_index(drop=True)
        limit = (max_rows or {}).get(split, len(rows))
        if len(rows) > limit:
            rows = rows.sample(limit, random_state=seed).sort_index().reset_index(drop=True)
        predictions = predict_rows(predictor, rows, label_names)
        predictions.write(folder / "predictions" / f"{split}.parquet")
        metrics[split] = predictions.measure(seed=seed).to_dict()
        if split in sliced:
            slices[split] = slice_metrics(predictions, seed=seed)
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1) + "\n")
    (folder / SLICES_FILE).write_text(json.dumps(slices, indent=1, default=_json_default) + "\n")
    return Scorecard(folder, tuple(label_names))


def _json_default(value: object) -> object:
    return value.to_dict() if isinstance(value, Metrics) else str(value)
