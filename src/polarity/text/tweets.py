"""Labelled tweets in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tweets:
    """Texts with their labels.

    Parameters
    ----------
    texts : sequence of str, length n
        Repaired texts (see `polarity.text.cleaning`).
    labels : int array of shape (n,)
        Index of each text's label in `label_names`.
    label_names : tuple of str
        The class set, in the order of every probability column of the project.
    """

    texts: Sequence[str]
    labels: IntArray
    label_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise ValueError(f"Got {len(self.texts)} texts and {len(self.labels)} labels; the numbers must be equal.")

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def read(cls, path: Path, label_names: Sequence[str]) -> Tweets:
        """Read the columns `text` and `label` of a split's Parquet file."""
        import pyarrow.parquet as pq

        table = pq.read_table(path, columns=["text", "label"])
        index = {label: at for at, label in enumerate(label_names)}
        codes = np.array([index[label] for label in table.column("label").to_pylist()], np.int64)
        return cls(table.column("text").to_pylist(), codes, tuple(label_names))

    def take(self, rows: npt.NDArray[np.int64]) -> Tweets:
        """Return the tweets at the positions `rows`, in that order."""
        return Tweets([self.texts[i] for i in rows], self.labels[rows], self.label_names)
