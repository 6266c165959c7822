"""Reliability, calibration error and Brier score on sets with known results."""

from __future__ import annotations

import numpy as np
import pytest

from polarity.evaluation.calibration import brier_score, expected_calibration_error, reliability


def answers(confidence: float, right: float, rows: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Return `rows` predictions of class 1 with the same confidence, of which the share `right` is correct."""
    labels = (np.arange(rows) < right * rows).astype(int)
    return labels, np.tile([1 - confidence, confidence], (rows, 1))


@pytest.mark.parametrize(("confidence", "right", "error"), [(0.9, 0.9, 0.0), (0.99, 0.7, 0.29), (0.6, 0.8, 0.2)])
def test_the_error_is_the_gap_between_confidence_and_accuracy(confidence: float, right: float, error: float) -> None:
    assert expected_calibration_error(*answers(confidence, right)) == pytest.approx(error)


def test_bins_are_weighted_by_their_rows() -> None:
    sure_labels, sure = answers(0.95, 0.85, rows=300)
    unsure_labels, unsure = answers(0.6, 0.6, rows=700)
    labels, probabilities = np.r_[sure_labels, unsure_labels], np.r_[sure, unsure]
    assert expected_calibration_error(labels, probabilities) == pytest.approx(0.3 * 0.1)


def test_well_calibrated_probabilities_have_a_small_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1, 1], 20_000)
    labels = (probabilities.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert expected_calibration_error(labels, probabilities) < 0.015


def test_every_row_is_in_one_bin() -> None:
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.4, 0.6], [0.0, 1.0]])
    bins = reliability(np.array([0, 0, 1, 1]), probabilities, bins=10)
    assert sum(b.rows for b in bins) == 4
    assert all(b.low < b.confidence <= b.high for b in bins)


def test_brier_score_of_a_coin() -> None:
    labels = np.array([0, 1])
    assert brier_score(labels, np.full((2, 2), 0.5)) == pytest.approx(0.25)
    assert brier_score(labels, np.full((2, 4), 0.25)) == pytest.approx(0.75)
