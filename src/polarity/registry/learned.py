"""The tweets that a version learned from, as a set of hashes kept with its MLflow run.

With it, no version is ever measured on tweets that it learned from, whatever happened to the splits since, and data of
another origin is recognised. A hash has 64 bits of the splits' key, so among a million tweets and a million others one
is mistaken for another with a probability of 5e-8.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from polarity.data.splits import SplitName, Splits
from polarity.registry.mlflow_client import connect, translate_mlflow_errors
from polarity.registry.versions import Registry, Version

LEARNED_FILE = "learned.npy"
_DIGITS = 16

Hashes = npt.NDArray[np.uint64]


def hashes(keys: Sequence[str]) -> Hashes:
    """The hashes of texts by their keys (hexadecimal), in their order; shape (n,)."""
    return np.array([int(key[:_DIGITS], 16) for key in keys], dtype=np.uint64)


def split_keys(splits: Splits, split: SplitName) -> list[str]:
    """The keys of a split's rows, in their order."""
    keys: list[str] = pq.read_table(splits.path(split), columns=["key"]).column("key").to_pylist()
    return keys


def learned_hashes(splits: Splits, training_rows: npt.NDArray[np.int64]) -> Hashes:
    """The hashes of what a fit learned from: the rows of the training split that it used, and validation; sorted.

    Validation counts, since it decides on early stopping and calibration.
    """
    train, validation = split_keys(splits, "train"), split_keys(splits, "validation")
    return np.unique(hashes([*(train[row] for row in training_rows), *validation]))


def write_learned(learned: Hashes, folder: Path) -> Path:
    """Write the hashes as a file to be kept with the version's MLflow run."""
    path = folder / LEARNED_FILE
    np.save(path, learned)
    return path


@translate_mlflow_errors
def read_learned(registry: Registry, version: Version) -> Hashes | None:
    """The hashes of what a version learned from; None if it was registered without them."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as scratch:
        try:
            path = connect(registry.uri).download_artifacts(version.run_id, LEARNED_FILE, scratch)
        except (MlflowException, OSError):
            return None
        learned: Hashes = np.load(path, allow_pickle=False)
        return learned
