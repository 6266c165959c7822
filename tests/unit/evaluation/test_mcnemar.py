"""McNemar's test against SciPy, and against all signs of the texts' sums."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from polarity.evaluation.mcnemar import mcnemar


def right(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.random(rows) < 0.8, random.random(rows) < 0.6


def test_where_every_text_occurs_once_it_is_the_binomial_test() -> None:
    first, second = right(0, 200)
    wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
    assert mcnemar(first, second, None) == binomtest(wins, wins + losses).pvalue
    assert mcnemar(first, second, np.arange(200)) == mcnemar(first, second, None)
    assert mcnemar(first, first, None) == mcnemar(first, first, np.zeros(200, int)) == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_repeated_texts_have_the_exact_distribution_over_all_signs(seed: int) -> None:
    first, second = right(seed, 24)
    texts = np.random.default_rng(seed).integers(10, size=24)
    sums = np.bincount(texts, weights=first.astype(int) - second)
    signs = np.array(list(itertools.product((-1, 1), repeat=len(sums))))
    expected = (abs(signs @ sums) >= abs(sums.sum())).mean()
    assert mcnemar(first, second, texts) == pytest.approx(expected)


def test_copies_of_every_tweet_are_no_more_evidence() -> None:
    first, second = right(1, 100)
    once = mcnemar(first, second, None)
    copied = np.repeat(first, 4), np.repeat(second, 4)
    assert mcnemar(*copied, np.repeat(np.arange(100), 4)) == pytest.approx(once)
    assert mcnemar(*copied, None) < once / 100


def test_many_tweets_are_no_burden() -> None:
    first, second = right(2, 400_000)
    texts = np.random.default_rng(2).integers(300_000, size=400_000)
    assert mcnemar(first, second, texts) == pytest.approx(0.0, abs=1e-12)
    assert mcnemar(first, np.roll(first, 1), texts) > 1e-6
