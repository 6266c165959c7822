"""Paired comparisons: the difference, its interval, and whether it is significant."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from polarity.evaluation.comparison import Difference, compare, compare_all, holm, paired_differences


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


def test_p_values_are_corrected_for_their_number() -> None:
    # the example of Holm's method in R's documentation of p.adjust: p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm")
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.001, 0.9, 0.9]) == pytest.approx([0.12, 0.004, 1.0, 1.0])
    assert holm([0.3]) == [0.3]
    assert holm([]) == []


def test_pairs_of_equal_models_are_rarely_called_different(labels: np.ndarray) -> None:
    runs, uncorrected, corrected = 120, 0, 0
    for run in range(runs):
        answers = {name: noisy(labels, 0.8, 1000 * run + place) for place, name in enumerate("abcde")}
        pairs = compare_all(labels, answers, n_labels=3, seed=run, resamples=300)
        uncorrected += any(not pair.macro_f1.inconclusive for pair in pairs)
        corrected += any(pair.significant for pair in pairs)
    assert uncorrected / runs > 0.15
    assert corrected / runs <= 0.09


def test_a_clear_difference_stays_significant_among_many(labels: np.ndarray) -> None:
    answers = {
        name: noisy(labels, right, seed) for seed, (name, right) in enumerate({"a": 0.9, "b": 0.6, "c": 0.6}.items())
    }
    first, second, third = compare_all(labels, answers, n_labels=3, seed=0)
    assert first.significant and second.significant and not third.significant
    assert first.adjusted_p_value > first.p_value
    alone = compare(labels, {"a": answers["a"], "b": answers["b"]}, n_labels=3, seed=0)
    assert alone.adjusted_p_value == alone.p_value == first.p_value


def test_the_p_value_of_a_difference_is_that_of_its_standard_error() -> None:
    assert Difference(1.96, (0.0, 4.0), 1.0).p_value == pytest.approx(0.05, abs=1e-4)
    assert Difference(-1.96, (-4.0, 0.0), 1.0).p_value == pytest.approx(0.05, abs=1e-4)
    assert Difference(0.0, (0.0, 0.0)).p_value == 1.0


def test_copies_of_every_tweet_make_no_difference_significant(labels: np.ndarray) -> None:
    labels = labels[:150]
    wrong = (labels + 1) % 3
    place = np.arange(150)
    first, second = np.where(place < 3, wrong, labels), np.where((place >= 3) & (place < 11), wrong, labels)
    answers = {"a": np.repeat(first, 10), "b": np.repeat(second, 10)}
    texts = np.repeat(np.arange(150), 10)
    taken_apart = compare(np.repeat(labels, 10), answers, n_labels=3, seed=0)
    by_text = compare(np.repeat(labels, 10), answers, n_labels=3, seed=0, groups=texts)
    once = compare(labels, {"a": first, "b": second}, n_labels=3, seed=0)
    assert taken_apart.p_value < 0.001 < 0.05 < once.p_value
    assert by_text.p_value == pytest.approx(once.p_value)
    assert by_text.macro_f1.standard_error == pytest.approx(once.macro_f1.standard_error, rel=0.1)
    assert taken_apart.significant and not once.significant and not by_text.significant
