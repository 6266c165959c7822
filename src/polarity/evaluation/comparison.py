"""Whether two classifiers differ significantly on the same tweets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from polarity.evaluation.metrics import Interval, accuracy_of, macro_f1_of, percentile_interval


@dataclass(frozen=True)
class Difference:
    """A metric of the first classifier minus that of the second, with its 95 % interval."""

    value: float
    interval: Interval

    @property
    def inconclusive(self) -> bool:
        """Whether the interval contains zero, so the difference is not significant."""
        return self.interval[0] <= 0.0 <= self.interval[1]


@dataclass(frozen=True)
class PairedComparison:
    """Two classifiers on the same tweets.

    `first_only` and `second_only` count the tweets that only one of them
    classifies correctly; `p_value` is that of McNemar's exact test that the two counts are equal
    (McNemar 1947; Dietterich 1998, Neural Computation 10, 1895-1923).
    """

    first: str
    second: str
    rows: int
    macro_f1: Difference
    accuracy: Difference
    first_only: int
    second_only: int
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON-compatible types."""
        return asdict(self)


def compare(
    labels: npt.NDArray[Any],
    predicted: dict[str, npt.NDArray[Any]],
    *,
    n_labels: int,
    seed: int,
    resamples: int = 1000,
) -> PairedComparison:
    """Compare two classifiers by a paired bootstrap over the tweets and by McNemar's test.

    Parameters
    ----------
    labels : int array of shape (n,)
    predicted : dict of two
        Predicted labels of shape (n,) by classifier name.
    n_labels : int
    seed : int
        Seed of the bootstrap.
    resamples : int, default 1000

    Raises
    ------
    ValueError
        If there are not exactly two classifiers, or the number of labels and predictions differs.
    """
    if len(predicted) != 2:
        raise ValueError(f"Got predictions of {list(predicted)}; exactly two classifiers can be compared.")
    (first, a), (second, b) = predicted.items()
    macro_f1, accuracy = paired_differences(labels, a, b, n_labels=n_labels, seed=seed, resamples=resamples)
    first_right, second_right = a == labels, b == labels
    first_only, second_only = int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    discordant = first_only + second_only
    return PairedComparison(
        first=first,
        second=second,
        rows=len(labels),
        macro_f1=macro_f1,
        accuracy=accuracy,
        first_only=first_only,
        second_only=second_only,
        p_value=float(binomtest(first_only, discordant).pvalue) if discordant else 1.0,
    )


def compare_all(
    labels: npt.NDArray[Any],
    predicted: dict[str, npt.NDArray[Any]],
    *,
    n_labels: int,
    seed: int,
    resamples: int = 1000,
) -> tuple[PairedComparison, ...]:
    """Compare every pair of classifiers, in the order of `predicted`."""
    names: Sequence[str] = list(predicted)
    return tuple(
        compare(labels, {a: predicted[a], b: predicted[b]}, n_labels=n_labels, seed=seed, resamples=resamples)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    )


def paired_differences(
    labels: npt.NDArray[Any],
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    *,
    n_labels: int,
    seed: int,
    resamples: int = 1000,
) -> tuple[Difference, Difference]:
    """Return the differences in macro-F1 and in accuracy, first minus second, by a paired bootstrap.

    Resampling tweets is equivalent to resampling the table of (label, first, second)
    triples, and the cost of that does not depend on the number of tweets.
    """
    if not len(labels) == len(first) == len(second) or not len(labels):
        raise ValueError(
            f"Got {len(labels)} labels, {len(first)} and {len(second)} predictions; they must be equal and above 0."
        )
    cells = (np.asarray(labels) * n_labels + np.asarray(first)) * n_labels + np.asarray(second)
    table = np.bincount(cells, minlength=n_labels**3)
    draws = np.random.default_rng(seed).multinomial(len(labels), table / len(labels), size=resamples)
    tables = np.vstack([table, draws]).reshape(-1, n_labels, n_labels, n_labels)
    of_first, of_second = tables.sum(axis=3), tables.sum(axis=2)
    f1, hits = (figure(of_first) - figure(of_second) for figure in (macro_f1_of, accuracy_of))
    return (
        Difference(float(f1[0]), percentile_interval(f1[1:])),
        Difference(float(hits[0]), percentile_interval(hits[1:])),
    )
