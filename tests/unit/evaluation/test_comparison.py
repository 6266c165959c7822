"""Paired comparisons: the difference, its interval, and whether it is significant."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from polarity.evaluation.comparison import compare, compare_all, paired_differences


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(3, size=1500)


def noisy(labels: np.ndarray, right: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(labels)) < right, labels, rng.integers(3, size=len(labels)))


def test_identical_predictions_do_not_differ(labels: np.ndarray) -> None:
    answers = noisy(labels, 0.8, 1)
    found = compare(labels, {"a": answers, "b": answers.copy()}, n_labels=3, seed=0)
    assert found.macro_f1.value == found.accuracy.value == 0
    assert found.macro_f1.interval == (0, 0)
    assert found.macro_f1.inconclusive
    assert found.p_value == 1


def test_a_clear_difference_is_found_with_its_sign(labels: np.ndarray) -> None:
    good, bad = noisy(labels, 0.9, 1), noisy(labels, 0.6, 2)
    found = compare(labels, {"good": good, "bad": bad}, n_labels=3, seed=0)
    assert found.macro_f1.value == pytest.approx(
        f1_score(labels, good, average="macro") - f1_score(labels, bad, average="macro")
    )
    assert found.macro_f1.interval[0] > 0
    assert not found.macro_f1.inconclusive
    assert found.p_value < 1e-6
    turned = compare(labels, {"bad": bad, "good": good}, n_labels=3, seed=0)
    assert turned.macro_f1.value == pytest.approx(-found.macro_f1.value)


def test_mcnemar_counts_the_tweets_that_only_one_classifies_correctly(labels: np.ndarray) -> None:
    first, second = noisy(labels, 0.8, 1), noisy(labels, 0.75, 2)
    found = compare(labels, {"a": first, "b": second}, n_labels=3, seed=0)
    a, b = ((first == labels) & (second != labels)).sum(), ((second == labels) & (first != labels)).sum()
    assert (found.first_only, found.second_only) == (a, b)
    assert found.p_value == pytest.approx(binomtest(int(a), int(a + b)).pvalue)
    assert found.accuracy.value == pytest.approx((a - b) / len(labels))


def test_the_interval_agrees_with_resampling_individual_rows(labels: np.ndarray) -> None:
    first, second = noisy(labels, 0.8, 1), noisy(labels, 0.78, 2)
    rng = np.random.default_rng(4)
    draws = []
    for _ in range(250):
        rows = rng.integers(len(labels), size=len(labels))
        draws.append(
            f1_score(labels[rows], first[rows], average="macro") - f1_score(labels[rows], second[rows], average="macro")
        )
    found, _ = paired_differences(labels, first, second, n_labels=3, seed=0, resamples=4000)
    assert found.interval == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.008)


def test_every_pair_is_compared_and_serialisable(labels: np.ndarray) -> None:
    answers = {name: noisy(labels, 0.8, seed) for seed, name in enumerate("abc")}
    pairs = compare_all(labels, answers, n_labels=3, seed=0)
    assert [(pair.first, pair.second) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert json.loads(json.dumps(pairs[0].to_dict()))["rows"] == 1500


def test_a_wrong_number_of_models_or_predictions_is_rejected(labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="exactly two"):
        compare(labels, {"a": labels}, n_labels=3, seed=0)
    with pytest.raises(ValueError, match="1500 labels, 1499"):
        paired_differences(labels, labels[1:], labels, n_labels=3, seed=0)
