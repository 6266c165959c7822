"""The gate between preparation and training: checks for complete splits without leakage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from polarity.config.sections import GateConfig, PreparationConfig
from polarity.data.gates import GateResult, validate
from polarity.data.splits import SPLIT_NAMES, Splits
from polarity.text.origins import DISTANT, ORIGIN


def check_splits(splits: Splits, preparation: PreparationConfig, gate: GateConfig, docs: Path) -> GateResult:
    """Validate the splits with the suite `prepared_tweets`; write its Data Docs into `docs`."""
    parts = [
        pq.read_table(splits.path(name), columns=_columns(splits.path(name))).to_pandas().assign(split=name)
        for name in SPLIT_NAMES
    ]
    frame = pd.concat(parts, ignore_index=True)
    by_key = frame.groupby("key")
    frame["splits_of_key"] = by_key["split"].transform("nunique")
    frame["labels_of_key"] = by_key["label"].transform("nunique")
    frame["split_and_label"] = frame["split"] + "/" + frame["label"]
    frame["in_test"] = (frame["split"] == "test").astype(np.float32)
    if ORIGIN in frame:
        frame.loc[frame[ORIGIN] == DISTANT, "in_test"] = np.nan  # these are in train alone
    # four standard errors of a share, but at least two percentage points
    tolerance = max(0.02, 4 * (preparation.test_share * (1 - preparation.test_share) / max(1, len(frame))) ** 0.5)
    return validate(
        frame,
        suite="prepared_tweets",
        parameters={
            "labels": list(splits.labels),
            "min_rows": gate.min_rows,
            "max_length": gate.max_length,
            "splits_and_labels": [f"{split}/{label}" for split in SPLIT_NAMES for label in splits.labels],
            "min_test_share": max(0.0, preparation.test_share - tolerance),
            "max_test_share": min(1.0, preparation.test_share + tolerance),
        },
        docs=docs,
    )


def _columns(path: Path) -> list[str]:
    return ["row", "text", "label", "key", *({ORIGIN} & {*pq.read_schema(path).names})]
