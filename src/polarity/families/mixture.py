"""How much of a training set is old, recent and labelled at a distance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from polarity.text.origins import DISTANT, OLD, ORIGIN, RECENT
from polarity.text.tweets import IntArray


@dataclass(frozen=True)
class Mixture:
    """The rows of a training split to learn from.

    Attributes
    ----------
    rows : int array of shape (n_kept,)
        Positions in the split, ascending.
    times : int array of shape (n_rows,)
        How often each row of the split counts. Repetition works in every family; weights of samples do not.
    """

    rows: IntArray
    times: IntArray


def read_origins(train: Path) -> npt.NDArray[Any] | None:
    """The origin of each row of a training split, of shape (n_rows,); None if all are of one file."""
    if ORIGIN not in pq.read_schema(train).names:
        return None
    origins: npt.NDArray[Any] = pq.read_table(train, columns=[ORIGIN]).column(ORIGIN).to_numpy(zero_copy_only=False)
    return origins


def mixture(
    origins: npt.NDArray[Any], *, old_share: float, weight: int, max_distant_share: float, seed: int
) -> Mixture:
    """Draw the rows of a training set.

    Parameters
    ----------
    origins : array of str, shape (n_rows,)
    old_share : float
        Share of the old rows that stays.
    weight : int
        How often a recent row counts.
    max_distant_share : float
        Maximum share of the training set, with repetitions, that is labelled by emoticons.
    seed : int
        Seed of both draws.
    """
    random = np.random.default_rng(seed)
    times = np.ones(len(origins), np.int64)
    times[np.isin(origins, RECENT)] = weight
    old, distant = np.flatnonzero(origins == OLD), np.flatnonzero(origins == DISTANT)
    times[random.permutation(old)[round(old_share * len(old)) :]] = 0
    others = times.sum() - len(distant)
    most = int(others * max_distant_share / (1 - max_distant_share))
    times[random.permutation(distant)[most:]] = 0
    return Mixture(np.flatnonzero(times), times)
