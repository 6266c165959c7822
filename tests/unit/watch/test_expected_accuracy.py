"""Accuracy expected from confidence: right on the same traffic, better after reweighting, blind to new meanings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from polarity.watch.density_ratio import density_ratios, reweighted_calibration, shift_features
from polarity.watch.drift import AnsweredTweets
from polarity.watch.expected_accuracy import CONFIDENCE, REWEIGHTED, ConfidenceCalibration, expected_accuracy
from polarity.watch.volunteered import volunteered_agreement
from tests.unit.watch.streams import ACCURACY, answers

TRIALS = 500


@pytest.mark.parametrize("target", ["traffic", "window"])
def test_on_the_same_traffic_the_interval_contains_the_accuracy_as_often_as_it_says(target: str) -> None:
    random, covered = np.random.default_rng(1), 0
    for _ in range(TRIALS):
        reference, window = answers(random, 1_000), answers(random, 500)
        calibration = ConfidenceCalibration.fit(reference.confidence, reference.correct)
        found = expected_accuracy(calibration, window.confidence, target=target)  # type: ignore[arg-type]
        truth = ACCURACY if target == "traffic" else float(window.correct.mean())
        covered += found.low <= truth <= found.high
    low, high = binom.ppf([0.0005, 0.9995], TRIALS, 0.95)
    assert low <= covered <= high


def test_an_overconfident_model_is_calibrated() -> None:
    random = np.random.default_rng(2)
    confidence = 0.5 + 0.5 * random.beta(1.5, 1.0, size=20_000)
    likely = 1 / (1 + np.exp(-0.5 * np.log(confidence / (1 - confidence))))
    calibration = ConfidenceCalibration.fit(confidence, random.random(20_000) < likely)
    assert calibration.coefficients == pytest.approx([0, 0.5], abs=0.08)
    found = expected_accuracy(calibration, confidence)
    assert found.value == pytest.approx(likely.mean(), abs=0.01)
    assert confidence.mean() > likely.mean() + 0.1, "what the model itself believes is far off"


@pytest.mark.parametrize("right", [True, False])
def test_a_reference_without_errors_does_not_break_the_calibration(right: bool) -> None:
    calibration = ConfidenceCalibration.fit(np.linspace(0.5, 1, 40), np.full(40, right))
    found = expected_accuracy(calibration, np.linspace(0.5, 1, 40))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert abs(found.value - right) < 0.1


def shifted(random: np.random.Generator, rows: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Topic, confidence and correctness: on the topic that a `share` is about, the model is overconfident."""
    topic, confidence = random.random(rows) < share, 0.5 + 0.5 * random.random(rows)
    return topic, confidence, random.random(rows) < np.where(topic, confidence - 0.2, confidence)


def test_reweighting_corrects_a_shift_of_topics_that_confidence_does_not_see() -> None:
    random = np.random.default_rng(5)
    before, confidence, correct = shifted(random, 8_000, 0.1)
    after, of_window, truth = shifted(random, 4_000, 0.8)
    ratios = density_ratios(*(np.column_stack([of, ~of]).astype(float) for of in (before, after)))
    assert ratios.mean() == pytest.approx(1)
    assert ratios[before].mean() == pytest.approx(8, rel=0.1)
    plain = expected_accuracy(ConfidenceCalibration.fit(confidence, correct), of_window)
    reweighted = expected_accuracy(ConfidenceCalibration.fit(confidence, correct, weights=ratios), of_window)
    assert plain.value > truth.mean() + 0.1
    assert reweighted.value == pytest.approx(truth.mean(), abs=0.03)
    assert reweighted.high - reweighted.low > plain.high - plain.low, "fewer reference tweets are like the window"
    assert (plain.method, reweighted.method) == (CONFIDENCE, REWEIGHTED)
    assert (plain.labels, reweighted.labels) == (0, 0)
    assert reweighted.caveat is not None and "of 8,000 reference tweets were like it" in reweighted.caveat


def test_without_a_shift_the_ratios_see_none() -> None:
    random = np.random.default_rng(6)
    ratios = density_ratios(random.normal(size=(4_000, 5)), random.normal(size=(1_000, 5)))
    assert ratios.std() < 0.15


def test_no_ratio_is_above_the_limit() -> None:
    before, after = np.arange(4_000) % 10 == 0, np.arange(4_000) % 10 < 8
    columns = [np.column_stack([of, ~of]).astype(float) for of in (before, after)]
    ratios = density_ratios(*columns, max_ratio=2.0)
    # 8 times as many as before of one kind, cut at 2, and 2/9 of the other
    assert ratios[before].mean() / ratios[~before].mean() == pytest.approx(9, rel=0.05)


def test_neither_notices_a_change_of_meaning_and_both_say_so() -> None:
    random = np.random.default_rng(8)
    reference, window = answers(random, 4_000), answers(random, 4_000)
    inverted = window.correct ^ (random.random(4_000) < 0.3)
    ratios = density_ratios(reference.confidence[:, None], window.confidence[:, None])
    for weights in (None, ratios):
        calibration = ConfidenceCalibration.fit(reference.confidence, reference.correct, weights=weights)
        found = expected_accuracy(calibration, window.confidence)
        assert found.low > inverted.mean() + 0.05
        assert found.caveat is not None and "concept drift" in found.caveat


def test_features_describe_any_tweets_in_the_same_columns() -> None:
    texts = ["so tired of exams!", "@you", ""]
    tweets = AnsweredTweets.of(texts, np.full((3, 2), 0.5))
    features = shift_features(tweets, [0.9, 1.0, 0.5])
    assert features.shape[1] == shift_features(AnsweredTweets.of(["another"], np.full((1, 2), 0.5)), [0.5]).shape[1]
    assert np.isfinite(features.data).all()
    without_words = shift_features(replace(tweets, words=None), [0.9, 1.0, 0.5]).toarray()
    np.testing.assert_array_equal(features.toarray()[:, : without_words.shape[1]], without_words)
    with pytest.raises(ValueError, match="3 tweets and 1 confidences"):
        shift_features(tweets, [0.5])


def of_topics(random: np.random.Generator, rows: int, exams: float) -> AnsweredTweets:
    """The model is overconfident about exams."""
    about = random.random(rows) < exams
    texts = [f"{'exams are' if topic else 'my dog is'} {random.choice(['fun', 'odd', 'long'])}" for topic in about]
    confidence = 0.5 + 0.5 * random.random(rows)
    correct = random.random(rows) < np.where(about, confidence - 0.2, confidence)
    labels = np.where(correct, 0, 1)
    return AnsweredTweets.of(texts, np.column_stack([confidence, 1 - confidence]), labels=labels)


@pytest.mark.parametrize("words", ["kept", "not kept"])
def test_held_out_tweets_are_reweighted_by_the_words_of_the_window_if_those_are_kept(words: str) -> None:
    random = np.random.default_rng(11)
    held_out, window = of_topics(random, 4_000, 0.1), of_topics(random, 1_000, 0.8)
    assert window.correct is not None
    truth, scores = window.correct.mean(), window.scores[:, 0]
    if words == "not kept":
        window = replace(window, words=None)
    calibration = reweighted_calibration(held_out, window, scores)
    assert calibration is not None
    found = expected_accuracy(calibration, scores)
    assert found.method == REWEIGHTED
    if words == "kept":
        assert found.value == pytest.approx(truth, abs=0.03)
    else:  # both topics look the same in all else
        assert found.value > truth + 0.08


def test_without_labels_or_with_too_few_tweets_nothing_is_reweighted() -> None:
    tweets = of_topics(np.random.default_rng(12), 50, 0.5)
    scores = tweets.scores[:, 0]
    assert reweighted_calibration(replace(tweets, correct=None), tweets, scores) is None
    assert reweighted_calibration(tweets, tweets[np.arange(4)], scores[:4]) is None
    assert reweighted_calibration(tweets, tweets, scores) is not None


def test_what_does_not_fit_is_refused_with_its_value() -> None:
    with pytest.raises(ValueError, match="3 confidences, 2 labels and 3 weights"):
        ConfidenceCalibration.fit([0.5, 0.6, 0.7], [1, 0])
    with pytest.raises(ValueError, match=r"weight -1\.0 in row 1"):
        ConfidenceCalibration.fit([0.5, 0.6], [1, 0], weights=[1, -1])
    with pytest.raises(ValueError, match="2 weights that are all 0"):
        ConfidenceCalibration.fit([0.5, 0.6], [1, 0], weights=[0, 0])
    calibration = ConfidenceCalibration.fit([0.5, 0.6], [1, 0])
    with pytest.raises(ValueError, match=r"confidence 60\.0 in row 0"):
        expected_accuracy(calibration, [60.0])
    with pytest.raises(ValueError, match=r"confidence of shape \(0,\)"):
        expected_accuracy(calibration, [])
    with pytest.raises(ValueError, match="3 columns of the reference and 2 of the window"):
        density_ratios(np.zeros((9, 3)), np.zeros((9, 2)))
    with pytest.raises(ValueError, match="9 reference tweets and 2 answers"):
        density_ratios(np.zeros((9, 3)), np.zeros((2, 3)))


def test_volunteered_feedback_has_a_share_and_no_accuracy() -> None:
    found = volunteered_agreement([True, False, False, False], answers=1_000)
    assert (found.reports, found.agreeing, found.share_agreeing) == (4, 1, 0.25)
    assert "says nothing about the accuracy" in found.caveat
    assert not hasattr(found, "value") and not hasattr(found, "low")
    assert volunteered_agreement([], answers=10).share_agreeing is None
    with pytest.raises(ValueError, match="3 reports for 2 answers"):
        volunteered_agreement([True] * 3, answers=2)
