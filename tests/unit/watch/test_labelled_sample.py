"""Intervals from few labels contain the truth as often as they say, and a proxy only ever makes them shorter."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from polarity.evaluation.metrics import wilson_interval
from polarity.families.logistic import Logistic, LogisticConfig
from polarity.record.labelling import LabellingRule
from polarity.text.cleaning import repair
from polarity.text.tweets import Tweets
from polarity.watch.estimates import Estimate
from polarity.watch.labelled_sample import MIN_OF_EACH, LabelledSample, labels_only, prediction_powered
from tests.unit.watch.streams import ACCURACY, answers, draw

TRIALS, WINDOW, LABELS = 600, 2_000, 100
# of so many trials, the number that contains the truth is in here with a probability of 99.9 %, if each does with 95 %
TOLERATED = binom.ppf([0.0005, 0.9995], TRIALS, 0.95) / TRIALS

Trial = tuple[Estimate, float]


@cache
def trials(kind: str) -> dict[str, list[Trial]]:
    """Estimates by method, each beside what it is of; `kind` is how answers are drawn or what the proxy is like."""
    random = np.random.default_rng([4, *kind.encode()])
    reference = answers(random, 2_000).confidence
    rule = LabellingRule.for_budget(LABELS / WINDOW, reference.tolist(), uniform_part=1.0 if kind == "uniform" else 0.3)
    found: dict[str, list[Trial]] = {}
    for _ in range(TRIALS):
        window = answers(random, WINDOW)
        sample = draw(random, window, rule)
        proxy = 1 - window.confidence if kind == "misleading" else window.confidence
        of_window = float(window.correct.mean())
        for method, estimate, truth in (
            ("labels", labels_only(sample), ACCURACY),
            ("labels, window", labels_only(sample, target="window"), of_window),
            ("powered", prediction_powered(sample, proxy), ACCURACY),
            ("powered, window", prediction_powered(sample, proxy, target="window"), of_window),
            ("naive", Estimate(float(np.mean(sample.correct)), 0, 1, "", 0, 0, "traffic"), ACCURACY),
        ):
            found.setdefault(method, []).append((estimate, truth))
    return found


def errors(pairs: list[Trial]) -> np.ndarray:
    return np.array([estimate.value - truth for estimate, truth in pairs])


def length(pairs: list[Trial]) -> float:
    return float(np.mean([estimate.high - estimate.low for estimate, _ in pairs]))


@pytest.mark.parametrize("method", ["labels", "labels, window", "powered", "powered, window"])
@pytest.mark.parametrize("kind", ["uniform", "active", "misleading"])
def test_the_interval_contains_the_truth_as_often_as_it_says(kind: str, method: str) -> None:
    pairs = trials(kind)[method]
    covered = np.mean([estimate.low <= truth <= estimate.high for estimate, truth in pairs])
    assert TOLERATED[0] <= covered <= TOLERATED[1]


@pytest.mark.parametrize("method", ["labels", "powered", "powered, window"])
def test_drawing_unsure_answers_more_often_does_not_bias_the_estimate(method: str) -> None:
    found = errors(trials("active")[method])
    assert abs(found.mean()) < 4 * found.std() / TRIALS**0.5
    naive = errors(trials("active")["naive"])
    assert naive.mean() < -10 * naive.std() / TRIALS**0.5, "unweighted, the answers that were drawn are harder"


def test_a_proxy_and_drawing_unsure_answers_both_shorten_the_interval() -> None:
    uniform, active = trials("uniform"), trials("active")
    assert length(uniform["powered"]) < 0.98 * length(uniform["labels"])
    assert length(active["powered"]) < 0.96 * length(uniform["powered"])
    assert np.std(errors(active["powered"])) < np.std(errors(uniform["labels"]))


def test_the_interval_of_a_window_is_shorter_than_that_of_its_traffic() -> None:
    random = np.random.default_rng(3)
    window = answers(random, 300)
    sample = draw(random, window, LabellingRule.uniform(0.5))
    of_traffic, of_window = labels_only(sample), labels_only(sample, target="window")
    assert of_window.value == of_traffic.value
    assert of_window.high - of_window.low < 0.8 * (of_traffic.high - of_traffic.low)


@pytest.mark.parametrize("accuracy", [0.0, 0.7, 1.0])
def test_if_every_answer_is_labelled_the_accuracy_of_the_window_is_known(accuracy: float) -> None:
    correct = np.arange(50) < 50 * accuracy
    sample = LabelledSample(50, np.arange(50), np.ones(50), correct)
    for found in (
        labels_only(sample, target="window"),
        prediction_powered(sample, np.linspace(0.5, 1, 50), target="window"),
    ):
        assert found.low == pytest.approx(accuracy) == found.value == pytest.approx(found.high)
    assert labels_only(sample).high - labels_only(sample).low > 0.05


def test_a_random_share_has_the_interval_of_wilson() -> None:
    sample = LabelledSample(10_000, np.arange(80), np.full(80, 0.01), np.arange(80) < 63)
    found = labels_only(sample)
    assert (found.low, found.high) == pytest.approx(wilson_interval(63, 80))
    assert (found.value, found.labels, found.answers, found.caveat) == (63 / 80, 80, 10_000, None)


@pytest.mark.parametrize("inclusion", ["equal", "different"])
def test_a_constant_proxy_gives_the_estimate_of_the_labels(inclusion: str) -> None:
    random = np.random.default_rng(8)
    window = answers(random, WINDOW)
    rule = LabellingRule.uniform(0.1) if inclusion == "equal" else LabellingRule(0.02, 0.2)
    sample = draw(random, window, rule)
    alone, powered = labels_only(sample), prediction_powered(sample, np.full(WINDOW, 0.7))
    assert (powered.value, powered.low, powered.high) == (alone.value, alone.low, alone.high)


def test_a_proxy_of_noise_costs_hardly_anything() -> None:
    random = np.random.default_rng(9)
    ratios = []
    for _ in range(100):
        window = answers(random, WINDOW)
        sample = draw(random, window, LabellingRule.uniform(0.1))
        alone, powered = labels_only(sample), prediction_powered(sample, random.random(WINDOW))
        ratios.append((powered.high - powered.low) / (alone.high - alone.low))
    assert np.mean(ratios) == pytest.approx(1, abs=0.02)


def test_with_very_few_errors_the_proxy_is_not_used_and_the_caveat_says_so() -> None:
    correct = np.arange(60) >= MIN_OF_EACH - 1
    sample = LabelledSample(1_000, np.arange(60), np.full(60, 0.06), correct)
    found, alone = prediction_powered(sample, np.linspace(0.5, 1, 1_000)), labels_only(sample)
    assert (found.value, found.low, found.high) == (alone.value, alone.low, alone.high)
    assert found.caveat is not None and "proxy is not used" in found.caveat


def test_drawn_answers_without_a_label_are_mentioned() -> None:
    half = LabelledSample(1_000, np.arange(30), np.linspace(0.05, 0.1, 30), np.arange(30) % 4 > 0, drawn=60)
    found = labels_only(half)
    assert found.caveat is not None and found.caveat.startswith("30 of 60 drawn answers have no label")
    assert "30 labels, 1,000 answers" in found.in_words() and found.method in found.in_words()


def test_missing_labels_do_not_make_the_interval_of_a_window_shorter() -> None:
    inclusion, correct = np.linspace(0.5, 1, 90), np.arange(90) % 5 > 0
    complete = LabelledSample(120, np.arange(90), inclusion, correct)
    partial = LabelledSample(120, np.arange(0, 90, 3), inclusion[::3], correct[::3], drawn=90)
    short, long = (labels_only(of, target="window") for of in (complete, partial))
    assert long.high - long.low > 1.5 * (short.high - short.low)


@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize("method", ["labels", "powered"])
def test_labels_that_all_agree_still_leave_an_interval(method: str, right: int) -> None:
    sample = LabelledSample(1_000, np.arange(20), np.linspace(0.01, 0.03, 20), np.full(20, right))
    found = labels_only(sample) if method == "labels" else prediction_powered(sample, np.full(1_000, 0.8))
    assert found.value == right
    assert found.high - found.low > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": [], "inclusion": [], "correct": []}, "no labels for 100 answers"),
        ({"inclusion": [0.1, 0.0, 0.1]}, r"inclusion probability 0\.0 for the labelled answer in row 7"),
        ({"inclusion": [0.1, 1.5, 0.1]}, r"inclusion probability 1\.5"),
        ({"inclusion": [0.1, np.nan, 0.1]}, "inclusion probability nan"),
        ({"inclusion": [0.1, 0.1]}, r"rows \(3,\), inclusion \(2,\), correct \(3,\)"),
        ({"rows": [3, 100, 9]}, "row 100 in a window of 100 answers"),
        ({"rows": [3, -1, 9]}, "row -1 in a window"),
        ({"rows": [3, 9, 9]}, "row 9 more than once"),
        ({"correct": [1, 2, 0]}, "2 in correct"),
        ({"drawn": 2}, "drawn=2 with 3 labels"),
    ],
)
def test_an_impossible_sample_is_refused_with_its_value(change: dict[str, object], message: str) -> None:
    sample = {"answers": 100, "rows": [3, 7, 9], "inclusion": [0.1, 0.1, 0.1], "correct": [True, False, True]}
    with pytest.raises(ValueError, match=message):
        LabelledSample(**(sample | change))  # type: ignore[arg-type]


def test_a_proxy_that_does_not_fit_is_refused_with_its_value() -> None:
    sample = LabelledSample(100, [3, 7, 9], [0.1, 0.1, 0.1], [True, False, True])
    with pytest.raises(ValueError, match="proxy for 99 answers; the window has 100"):
        prediction_powered(sample, np.full(99, 0.5))
    with pytest.raises(ValueError, match=r"proxy 1\.2 in row 4"):
        prediction_powered(sample, np.where(np.arange(100) == 4, 1.2, 0.5))
    with pytest.raises(ValueError, match="target='day'"):
        labels_only(sample, target="day")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="level=95"):
        labels_only(sample, level=95)


@pytest.mark.realdata
def test_on_real_tweets_intervals_contain_the_truth_and_the_own_confidence_shortens_them(shared_data: Path) -> None:
    source = pd.read_csv(shared_data / "sentiment140_sample.csv.gz", dtype=str, keep_default_na=False).head(14_000)
    tweets = Tweets(
        [repair(text) for text in source["text"]],
        (source["label"] == "4").to_numpy().astype(np.int64),
        ("negative", "positive"),
    )
    train, validation, stream = (
        tweets.take(np.arange(*edges)) for edges in ((0, 6_000), (6_000, 7_000), (7_000, 14_000))
    )
    config = LogisticConfig(char_ngrams=None)
    model = Logistic().classifier(config, name="served", seed=0).fit(train, validation, lambda *_, **__: None)
    probabilities = model.predict_proba(stream.texts).astype(np.float64)
    correct, confidence = probabilities.argmax(axis=1) == stream.labels, probabilities.max(axis=1)
    rule = LabellingRule.for_budget(0.05, model.predict_proba(validation.texts).max(axis=1).tolist())
    inclusion = np.array([rule.probability(of) for of in confidence.tolist()])
    random, found = np.random.default_rng(2), []
    for _ in range(TRIALS):
        rows = random.integers(len(correct), size=5_000)
        drawn, shares = (
            np.flatnonzero(random.random(5_000) < inclusion[rows]),
            np.flatnonzero(random.random(5_000) < 0.05),
        )
        sample = LabelledSample(5_000, drawn, inclusion[rows][drawn], correct[rows][drawn])
        plain = labels_only(LabelledSample(5_000, shares, np.full(len(shares), 0.05), correct[rows][shares]))
        powered = prediction_powered(sample, confidence[rows])
        found.append(
            [
                *(of.low <= correct.mean() <= of.high for of in (plain, powered)),
                powered.high - powered.low,
                plain.high - plain.low,
            ]
        )
    of_plain, of_powered, powered_length, plain_length = np.mean(found, axis=0)
    assert TOLERATED[0] <= of_plain <= TOLERATED[1]
    assert TOLERATED[0] <= of_powered <= TOLERATED[1]
    assert powered_length < 0.95 * plain_length
