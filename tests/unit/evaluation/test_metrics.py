"""Metrics against scikit-learn and SciPy, and on sets that lack a class."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as reference

from polarity.evaluation.metrics import Metrics, confusion_counts, macro_f1_of, measure, wilson_interval

NAMES = ("negative", "neutral", "positive")


def draw(rows: int, n_labels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(n_labels), rows).astype(np.float32)
    guided = np.array([rng.choice(n_labels, p=p / p.sum()) for p in probabilities.astype(float)])
    return guided, probabilities


@pytest.mark.parametrize("n_labels", [2, 3])
def test_metrics_match_scikit_learn(n_labels: int) -> None:
    labels, probabilities = draw(800, n_labels, seed=n_labels)
    found = measure(labels, probabilities, label_names=NAMES[:n_labels], seed=0)
    predicted, scores = probabilities.argmax(axis=1), probabilities.astype(float)
    scores /= scores.sum(axis=1, keepdims=True)
    assert found.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert found.precision == pytest.approx(reference.precision_score(labels, predicted, average="macro"))
    assert found.recall == pytest.approx(reference.recall_score(labels, predicted, average="macro"))
    assert found.log_loss == pytest.approx(reference.log_loss(labels, scores), rel=1e-6)
    assert found.brier == pytest.approx(reference.brier_score_loss(labels, scores if n_labels > 2 else scores[:, 1]))
    expected_auc = reference.roc_auc_score(labels, scores if n_labels > 2 else scores[:, 1], multi_class="ovr")
    assert found.auc == pytest.approx(expected_auc)


@pytest.mark.parametrize(("hits", "rows"), [(0, 7), (7, 7), (3, 7), (812, 1000)])
def test_the_accuracy_interval_is_wilsons(hits: int, rows: int) -> None:
    expected = binomtest(hits, rows).proportion_ci(method="wilson")
    assert wilson_interval(hits, rows) == pytest.approx((expected.low, expected.high))


def test_the_macro_f1_interval_agrees_with_resampling_individual_rows() -> None:
    labels, probabilities = draw(400, 3, seed=5)
    predicted = probabilities.argmax(axis=1)
    rng = np.random.default_rng(1)
    drawn = [rng.integers(400, size=400) for _ in range(2000)]
    f1 = [float(macro_f1_of(confusion_counts(labels[r], predicted[r], n_labels=3)[None])[0]) for r in drawn]
    found = measure(labels, probabilities, label_names=NAMES, seed=2, resamples=2000)
    assert found.macro_f1_interval == pytest.approx(np.quantile(f1, [0.025, 0.975]), abs=0.01)


def test_the_interval_has_its_nominal_coverage() -> None:
    truth, covered, trials = 0.8, 0, 200
    rng = np.random.default_rng(3)
    for trial in range(trials):
        labels = rng.integers(2, size=300)
        answers = np.where(rng.random(300) < truth, labels, 1 - labels)
        low, high = measure(labels, np.eye(2)[answers], label_names=NAMES[:2], seed=trial).macro_f1_interval
        covered += low <= truth <= high
    assert 0.89 <= covered / trials <= 0.99


def test_a_missing_class_gives_no_auc_and_no_error() -> None:
    found = measure([1, 1, 1], [[0.1, 0.9], [0.4, 0.6], [0.2, 0.8]], label_names=NAMES[:2], seed=0)
    assert found.auc is None
    assert found.macro_f1 == found.accuracy == 1.0
    assert json.loads(json.dumps(found.to_dict()))["auc"] is None
    assert "test_auc" not in found.scalars("test")


def test_macro_averages_exclude_classes_that_do_not_occur() -> None:
    found = measure([0, 0, 1, 1], np.eye(3)[[0, 1, 1, 1]], label_names=NAMES, seed=0)
    assert found.recall == pytest.approx((0.5 + 1.0) / 2)


def test_a_confident_error_has_a_finite_log_loss() -> None:
    assert math.isfinite(measure([0], [[0.0, 1.0]], label_names=NAMES[:2], seed=0).log_loss)


def test_the_same_seed_gives_the_same_metrics() -> None:
    labels, probabilities = draw(300, 2, seed=1)
    first, second, other = (measure(labels, probabilities, label_names=NAMES[:2], seed=seed) for seed in (1, 1, 2))
    assert first == second
    assert first.macro_f1_interval != other.macro_f1_interval


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 40), n_labels=st.sampled_from([2, 3, 4]), seed=st.integers(0, 2**16), only=st.booleans())
def test_any_set_can_be_measured(rows: int, n_labels: int, seed: int, only: bool) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(n_labels, 0.2), rows)
    labels = np.zeros(rows, int) if only else rng.integers(n_labels, size=rows)
    found = measure(labels, probabilities, label_names="abcd"[:n_labels], seed=seed, resamples=50)
    for low, high in (found.accuracy_interval, found.macro_f1_interval, found.recall_interval):
        assert 0 <= low <= high <= 1
    assert found.accuracy_interval[0] <= found.accuracy <= found.accuracy_interval[1]
    assert all(0 <= share <= 1 for share in (found.macro_f1, found.precision, found.recall, found.ece))
    assert Metrics.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([], np.empty((0, 2)), "no rows"),
        ([0, 1], [[0.5, 0.5]], r"shape \(2,\)"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "0 to 2"),
        ([0], [[np.nan, 1.0]], "nan"),
        ([0], [[0.5, 0.9]], "sum to 1"),
        ([0], [[-0.5, 1.5]], "-0.5"),
    ],
)
def test_invalid_input_is_quoted(labels: object, probabilities: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(labels, probabilities, label_names=NAMES[:2], seed=0)
