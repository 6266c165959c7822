"""McNemar's exact test, also where the same text occurs several times."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import convolve
from scipy.stats import binom, binomtest

from polarity.text.tweets import IntArray


def mcnemar(first_right: npt.NDArray[Any], second_right: npt.NDArray[Any], texts: IntArray | None) -> float:
    """Return the p-value that two classifiers are equally often correct (McNemar 1947; Dietterich 1998).

    If every text occurs once this is the exact binomial test. Otherwise a text is one observation, its tweets in favour
    of the first classifier minus those in favour of the second (as in Obuchowski 1998, Statistics in Medicine 17,
    1495-1507): if neither classifier is better, each such sum is as likely with the opposite sign, and the distribution
    of their total over all signs is computed exactly (Fisher 1935, The Design of Experiments, 21). With sums of one
    tweet each this is the binomial test again.

    Parameters
    ----------
    first_right, second_right : bool arrays of shape (n,)
        Whether each classifier is correct on each tweet.
    texts : int array of shape (n,) or None
        The number of each tweet's text (`polarity.evaluation.resampling.repeated_texts`). None: every text occurs once.
    """
    net = first_right.astype(np.int64) - second_right
    if texts is not None:
        net = np.bincount(texts, weights=net).astype(np.int64)
    net = net[net != 0]
    weights, numbers = np.unique(np.abs(net), return_counts=True)
    if not len(net):
        return 1.0
    if weights.tolist() == [1]:
        return float(binomtest(int((net > 0).sum()), len(net)).pvalue)
    chances = np.ones(1)  # of each total weight of the texts in favour of the first
    for weight, number in zip(weights, numbers, strict=True):
        of_weight = np.zeros(weight * number + 1)
        of_weight[::weight] = binom.pmf(np.arange(number + 1), number, 0.5)
        chances = convolve(chances, of_weight)
    total = len(chances) - 1
    as_unequal = np.abs(2 * np.arange(total + 1) - total) >= abs(net.sum())
    return float(np.clip(chances[as_unequal].sum(), 0.0, 1.0))
