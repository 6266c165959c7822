"""Intervals where the same text occurs several times: texts are resampled, not tweets."""

from __future__ import annotations

import numpy as np
import pytest

from polarity.evaluation.comparison import paired_differences
from polarity.evaluation.metrics import macro_f1_of, measure
from polarity.evaluation.resampling import design_effect, repeated_texts, resampled_counts

NAMES = ("negative", "positive")
TRIALS = 400


def repeated(random: np.random.Generator, texts: int) -> np.ndarray:
    """The text of each tweet: most occur once, some five times."""
    return np.repeat(np.arange(texts), random.choice([1, 5], size=texts, p=[0.8, 0.2]))


def test_without_repeated_texts_tweets_are_resampled_as_ever() -> None:
    labels, cells = np.arange(300) % 2, np.random.default_rng(0).integers(4, size=300)
    assert repeated_texts(np.random.default_rng(1).permutation(300), 300) is None
    expected = np.random.default_rng(7).multinomial(300, np.bincount(cells, minlength=4) / 300, size=50)
    np.testing.assert_array_equal(resampled_counts(cells, None, n_cells=4, seed=7, resamples=50), expected)
    probabilities = np.eye(2)[cells % 2]
    alone = measure(labels, probabilities, label_names=NAMES, seed=3)
    assert measure(labels, probabilities, label_names=NAMES, seed=3, groups=np.arange(300)) == alone
    assert design_effect(labels == cells % 2, None) == 1.0


@pytest.mark.parametrize("n_cells", [4, 27])
def test_the_counts_agree_with_resampling_individual_texts(n_cells: int) -> None:
    random = np.random.default_rng(5)
    texts = repeated(random, 200)
    # most copies of a text are in one cell, some are not
    cells = np.where(random.random(len(texts)) < 0.9, texts * 7 % n_cells, random.integers(n_cells, size=len(texts)))
    tables = np.zeros((200, n_cells), int)
    np.add.at(tables, (texts, cells), 1)
    drawn = [tables[random.integers(200, size=200)].sum(axis=0) for _ in range(3000)]
    found = resampled_counts(cells, texts, n_cells=n_cells, seed=1, resamples=3000)
    assert found.shape == (3000, n_cells)
    np.testing.assert_allclose(found.mean(axis=0), tables.sum(axis=0), rtol=0.05)
    np.testing.assert_allclose(np.cov(found.T), np.cov(np.array(drawn).T), atol=0.1 * np.var(drawn, axis=0).max())


def test_one_text_has_one_resample() -> None:
    found = resampled_counts(np.array([0, 1, 1]), np.zeros(3, int), n_cells=4, seed=0, resamples=5)
    assert found.tolist() == [[1, 2, 0, 0]] * 5


def test_copies_of_every_tweet_are_no_more_evidence() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(2, size=300)
    answers = np.where(random.random(300) < 0.8, labels, 1 - labels)
    once = measure(labels, np.eye(2)[answers], label_names=NAMES, seed=0)
    thrice = measure(
        np.repeat(labels, 3),
        np.eye(2)[np.repeat(answers, 3)],
        label_names=NAMES,
        seed=0,
        groups=np.repeat(np.arange(300), 3),
    )
    assert thrice.accuracy == once.accuracy
    assert thrice.accuracy_interval == pytest.approx(once.accuracy_interval, abs=0.001)
    assert thrice.macro_f1_interval == pytest.approx(once.macro_f1_interval, abs=0.01)


@pytest.mark.parametrize("correct", [True, False])
def test_the_accuracy_interval_of_a_flawless_model_knows_of_repeated_texts(correct: bool) -> None:
    labels = np.arange(60) % 2
    predicted = labels if correct else 1 - labels
    found = measure(labels, np.eye(2)[predicted], label_names=NAMES, seed=0, groups=np.repeat(np.arange(20), 3))
    alone = measure(labels[:20], np.eye(2)[predicted[:20]], label_names=NAMES, seed=0)
    assert found.accuracy_interval == pytest.approx(alone.accuracy_interval)


def test_intervals_cover_the_truth_with_repeated_texts_only_if_texts_are_resampled() -> None:
    truth, random = 0.8, np.random.default_rng(3)
    figures = ("accuracy", "macro_f1", "recall")
    covered = {(figure, by): 0 for figure in figures for by in ("texts", "tweets")}
    for trial in range(TRIALS):
        texts = repeated(random, 300)
        labels = random.integers(2, size=300)
        answers = np.where(random.random(300) < truth, labels, 1 - labels)
        labels, probabilities = labels[texts], np.eye(2)[answers[texts]]
        for by, groups in (("texts", texts), ("tweets", None)):
            found = measure(labels, probabilities, label_names=NAMES, seed=trial, resamples=400, groups=groups)
            for figure in figures:
                low, high = getattr(found, f"{figure}_interval")
                covered[figure, by] += low <= truth <= high
    for (figure, by), count in covered.items():
        if by == "texts":
            assert 0.92 <= count / TRIALS <= 0.98, (figure, by)
        else:
            assert count / TRIALS < 0.85, (figure, by)


def test_differences_cover_the_truth_with_repeated_texts_only_if_texts_are_resampled() -> None:
    random = np.random.default_rng(4)
    covered = {"texts": 0, "tweets": 0}
    for trial in range(TRIALS):
        texts = repeated(random, 300)
        labels = random.integers(2, size=300)
        first, second = (np.where(random.random(300) < 0.8, labels, 1 - labels) for _ in range(2))  # equally good
        for by, groups in (("texts", texts), ("tweets", None)):
            macro_f1, accuracy = paired_differences(
                labels[texts], first[texts], second[texts], n_labels=2, seed=trial, resamples=400, groups=groups
            )
            covered[by] += macro_f1.inconclusive
            assert macro_f1.value == pytest.approx(accuracy.value, abs=0.05)
    assert 0.92 <= covered["texts"] / TRIALS <= 0.98
    assert covered["tweets"] / TRIALS < 0.85


def test_the_macro_f1_of_resampled_texts_agrees_with_individual_ones() -> None:
    random = np.random.default_rng(6)
    texts = repeated(random, 150)
    labels = random.integers(3, size=150)[texts]
    answers = np.where(random.random(len(texts)) < 0.7, labels, random.integers(3, size=len(texts)))
    tables = np.zeros((150, 9), int)
    np.add.at(tables, (texts, labels * 3 + answers), 1)
    drawn = np.array([tables[random.integers(150, size=150)].sum(axis=0) for _ in range(3000)]).reshape(-1, 3, 3)
    found = measure(labels, np.eye(3)[answers], label_names="abc", seed=0, resamples=3000, groups=texts)
    assert found.macro_f1_interval == pytest.approx(np.quantile(macro_f1_of(drawn), [0.025, 0.975]), abs=0.01)


def test_a_wrong_number_of_groups_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\) for 3 tweets"):
        measure([0, 1, 1], np.eye(2)[[0, 1, 1]], label_names=NAMES, seed=0, groups=[0, 1])
