"""Whether two classifiers differ significantly on the same tweets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from polarity.evaluation.mcnemar import mcnemar
from polarity.evaluation.metrics import CONFIDENCE, Floats, Interval, accuracy_of, macro_f1_of, percentile_interval
from polarity.evaluation.resampling import repeated_texts, resampled_counts


@dataclass(frozen=True)
class Difference:
    """A metric of the first classifier minus that of the second, with its 95 % interval and its standard error."""

    value: float
    interval: Interval
    standard_error: float = 0.0

    @classmethod
    def of_draws(cls, value: float, draws: Floats) -> Self:
        """Summarise a difference by its bootstrap draws."""
        return cls(value, percentile_interval(draws), float(np.std(draws, ddof=1)))

    @property
    def inconclusive(self) -> bool:
        """Whether the interval contains zero, so the difference is not significant."""
        return self.interval[0] <= 0.0 <= self.interval[1]

    @property
    def p_value(self) -> float:
        """The two-sided p-value that there is no difference, by the same approximation as `lower_bound`."""
        if not self.standard_error:
            return float(self.value == 0)
        return float(2 * norm.sf(abs(self.value) / self.standard_error))

    def lower_bound(self, level: float) -> float:
        """The one-sided lower confidence bound at an error `level`, e.g. 0.025.

        By the normal approximation with the bootstrap's standard error (Efron and Tibshirani 1993, An Introduction to
        the Bootstrap, 13.2): percentiles of a thousand draws say nothing about levels far below 0.01.
        """
        return self.value - float(norm.isf(level)) * self.standard_error


@dataclass(frozen=True)
class PairedComparison:
    """Two classifiers on the same tweets.

    `first_only` and `second_only` count the tweets that only one of them
    classifies correctly; `p_value` is that of McNemar's exact test that the two counts are equal
    (McNemar 1947; Dietterich 1998, Neural Computation 10, 1895-1923). A text that occurs several times counts as one
    observation. `adjusted_p_value` (of McNemar's test) and `adjusted_macro_f1_p_value` (of the difference in
    macro-F1) are corrected for the number of pairs that are compared (`compare_all`).
    """

    first: str
    second: str
    rows: int
    macro_f1: Difference
    accuracy: Difference
    first_only: int
    second_only: int
    p_value: float
    adjusted_p_value: float
    adjusted_macro_f1_p_value: float

    @property
    def significant(self) -> bool:
        """Whether the difference in macro-F1 is significant, also after the correction for the number of pairs."""
        return not self.macro_f1.inconclusive and self.adjusted_macro_f1_p_value < 1 - CONFIDENCE

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
    groups: npt.ArrayLike | None = None,
) -> PairedComparison:
    """Compare two classifiers by a paired bootstrap over the texts and by McNemar's test.

    Parameters
    ----------
    labels : int array of shape (n,)
    predicted : dict of two
        Predicted labels of shape (n,) by classifier name.
    n_labels : int
    seed : int
        Seed of the bootstrap.
    resamples : int, default 1000
    groups : int array of shape (n,), optional
        Equal for tweets with the same text. Default: every text occurs once.

    Raises
    ------
    ValueError
        If there are not exactly two classifiers, or the numbers of labels, predictions and groups differ.
    """
    if len(predicted) != 2:
        raise ValueError(f"Got predictions of {list(predicted)}; exactly two classifiers can be compared.")
    (first, a), (second, b) = predicted.items()
    macro_f1, accuracy = paired_differences(
        labels, a, b, n_labels=n_labels, seed=seed, resamples=resamples, groups=groups
    )
    first_right, second_right = a == labels, b == labels
    p_value = mcnemar(first_right, second_right, repeated_texts(groups, len(labels)))
    return PairedComparison(
        first=first,
        second=second,
        rows=len(labels),
        macro_f1=macro_f1,
        accuracy=accuracy,
        first_only=int((first_right & ~second_right).sum()),
        second_only=int((second_right & ~first_right).sum()),
        p_value=p_value,
        adjusted_p_value=p_value,
        adjusted_macro_f1_p_value=macro_f1.p_value,
    )


def compare_all(
    labels: npt.NDArray[Any],
    predicted: dict[str, npt.NDArray[Any]],
    *,
    n_labels: int,
    seed: int,
    resamples: int = 1000,
    groups: npt.ArrayLike | None = None,
) -> tuple[PairedComparison, ...]:
    """Compare every pair of classifiers, in the order of `predicted`, and correct the p-values for their number."""
    pairs = [
        compare(labels, dict(pair), n_labels=n_labels, seed=seed, resamples=resamples, groups=groups)
        for pair in combinations(predicted.items(), 2)
    ]
    counts = holm([pair.p_value for pair in pairs])
    macro_f1 = holm([pair.macro_f1.p_value for pair in pairs])
    return tuple(
        replace(pair, adjusted_p_value=of_counts, adjusted_macro_f1_p_value=of_macro_f1)
        for pair, of_counts, of_macro_f1 in zip(pairs, counts, macro_f1, strict=True)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number, in their order (Holm 1979, Scandinavian Journal of Statistics 6, 65-70).

    The probability that any true hypothesis is rejected stays below the level, whatever their dependence.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1))
    return [float(p_value) for p_value in np.minimum(adjusted, 1.0)]


def paired_differences(
    labels: npt.NDArray[Any],
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    *,
    n_labels: int,
    seed: int,
    resamples: int = 1000,
    groups: npt.ArrayLike | None = None,
) -> tuple[Difference, Difference]:
    """Return the differences in macro-F1 and in accuracy, first minus second, by a paired bootstrap.

    Resampling tweets is equivalent to resampling the table of (label, first, second)
    triples, and the cost of that does not depend on the number of tweets. With `groups`, an int
    array of shape (n,) that is equal for tweets with the same text, texts are resampled
    (`polarity.evaluation.resampling`).
    """
    if not len(labels) == len(first) == len(second) or not len(labels):
        raise ValueError(
            f"Got {len(labels)} labels, {len(first)} and {len(second)} predictions; they must be equal and above 0."
        )
    cells = (np.asarray(labels) * n_labels + np.asarray(first)) * n_labels + np.asarray(second)
    table = np.bincount(cells, minlength=n_labels**3)
    texts = repeated_texts(groups, len(labels))
    draws = resampled_counts(cells, texts, n_cells=n_labels**3, seed=seed, resamples=resamples)
    tables = np.vstack([table, draws]).reshape(-1, n_labels, n_labels, n_labels)
    of_first, of_second = tables.sum(axis=3), tables.sum(axis=2)
    f1, hits = (figure(of_first) - figure(of_second) for figure in (macro_f1_of, accuracy_of))
    return (
        Difference.of_draws(float(f1[0]), f1[1:]),
        Difference.of_draws(float(hits[0]), hits[1:]),
    )
