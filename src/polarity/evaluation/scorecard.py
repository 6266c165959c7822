"""What a packaged model answers on some splits, with the figures of that: a folder.

predictions/<split>.parquet    the tweets with the model's probabilities
metrics.json                   {split: METRICS}
slices.json                    {split: {slice: {value: METRICS}}}, for the splits that were asked for
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

METRICS_FILE = "metrics.json"
SLICES_FILE = "slices.json"


@dataclass(frozen=True)
class Scorecard:
    """A folder that `write_scorecard` wrote."""

    folder: Path
    label_names: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, Metrics]:
        """Figures by split."""
        record = json.loads((self.folder / METRICS_FILE).read_text())
        return {split: Metrics.from_dict(figures) for split, figures in record.items()}

    @property
    def slices(self) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
        """Figures by split, slice and value of the slice."""
        record: dict[str, dict[str, dict[str, dict[str, object]]]] = json.loads((self.folder / SLICES_FILE).read_text())
        return record

    def predictions(self, split: str) -> Predictions:
        """The predictions on one split."""
        return Predictions.read(self.folder / "predictions" / f"{split}.parquet", self.label_names)


def write_scorecard(
    packaged: Path,
    splits: Mapping[str, Path],
    folder: Path,
    *,
    label_names: Sequence[str],
    seed: int,
    most_rows: Mapping[str, int] | None = None,
    sliced: Sequence[str] = (),
) -> Scorecard:
    """Let the packaged model predict `splits` and measure it.

    Parameters
    ----------
    packaged : Path
        Folder of the packaged model.
    splits : mapping of str to Path
        Parquet files with `text`, `label` and whatever else the source has.
    folder : Path
        Where everything is written.
    label_names : sequence of str
        The class set.
    seed : int
        Of the bootstrap, and of the draw where a split is thinned out.
    most_rows : mapping of str to int, optional
        Measure at most so many rows of a split (the training split is large and says little).
    sliced : sequence of str
        Splits that are measured slice by slice, too.
    """
    predictor = load_predictor(packaged)
    metrics, slices = {}, {}
    for split, path in splits.items():
        rows = pd.read_parquet(path)
        limit = (most_rows or {}).get(split, len(rows))
        if len(rows) > limit:
            rows = rows.sample(limit, random_state=seed).sort_index().reset_index(drop=True)
        predictions = predict_rows(predictor, rows, label_names)
        predictions.write(folder / "predictions" / f"{split}.parquet")
        metrics[split] = predictions.measure(seed=seed).to_dict()
        if split in sliced:
            slices[split] = slice_metrics(predictions, seed=seed)
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1) + "\n")
    (folder / SLICES_FILE).write_text(json.dumps(slices, indent=1, default=_plain) + "\n")
    return Scorecard(folder, tuple(label_names))


def _plain(value: object) -> object:
    return value.to_dict() if isinstance(value, Metrics) else str(value)
