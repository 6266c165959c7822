"""How much more frequent tweets like those of the reference are in a window, by a classifier of the two."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from polarity.watch.drift import AnsweredTweets
from polarity.watch.estimates import Floats, probabilities_of
from polarity.watch.expected_accuracy import ConfidenceCalibration

FOLDS = 5
MAX_RATIO = 20.0
"""Ratios are cut here. A single reference tweet would otherwise stand for a large part of the window."""
# Of the columns of `AnsweredTweets.descriptors`: scaled to about 1; those of which only the presence counts.
_SCALES = np.array([1 / 100, 1 / 20, 1, 1, 1, 1, 1])
_UNKNOWN, _COUNTS = 2, [3, 4, 5, 6]


def shift_features(tweets: AnsweredTweets, confidence: npt.ArrayLike) -> sparse.csr_matrix:
    """Describe answered tweets by the model's confidence, the form of the text and, if texts are kept, its words.

    Parameters
    ----------
    tweets : AnsweredTweets
        n of them.
    confidence : float array of shape (n,)
        The served model's probability of each answered label.

    Returns
    -------
    sparse float matrix of shape (n, n_features)
        The same columns for any tweets, those of the words last: nothing is fitted.
    """
    scores = probabilities_of(confidence, "confidence")
    if len(tweets) != len(scores):
        raise ValueError(f"Got {len(tweets)} tweets and {len(scores)} confidences; the numbers must be equal.")
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    latin = np.array([script in (None, "latin") for script in tweets.scripts], dtype=np.float64)
    form = np.nan_to_num(tweets.descriptors) * _SCALES
    form[:, _COUNTS] = form[:, _COUNTS] > 0
    dense = sparse.csr_matrix(np.column_stack([np.log(inside / (1 - inside)), latin, form]))
    if tweets.words is None:
        return dense
    lengths = np.sqrt(np.maximum(np.asarray(tweets.words.sum(axis=1)).ravel(), 1))
    return sparse.csr_matrix(sparse.hstack([dense, sparse.diags(1 / lengths) @ tweets.words]))


def reweighted_calibration(
    held_out: AnsweredTweets, window: AnsweredTweets, confidence: npt.ArrayLike
) -> ConfidenceCalibration | None:
    """Learn what a confidence is worth from held-out tweets, reweighted to resemble a window.

    Parameters
    ----------
    held_out : AnsweredTweets
        With the scores of all labels, and whether the answers are correct.
    window : AnsweredTweets
        Of its n tweets the scores are not read.
    confidence : float array of shape (n,)
        The served model's probability of each answered label.

    Returns
    -------
    ConfidenceCalibration or None
        None if either has fewer than `FOLDS` tweets, or it is not known which answers are correct.
    """
    if held_out.correct is None or min(len(held_out), len(window)) < FOLDS:
        return None
    certain = held_out.scores.max(axis=1)
    reference, answers = shift_features(held_out, certain), shift_features(window, confidence)
    shared = min(reference.shape[1], answers.shape[1])  # without the words, unless both have them
    unknown = window.descriptors[:, _UNKNOWN]
    if np.isnan(unknown).any():  # not known of the answers of a challenger
        kept = np.arange(shared) != _UNKNOWN + 2
        reference, answers = reference[:, :shared][:, kept], answers[:, :shared][:, kept]
    ratios = density_ratios(reference[:, :shared], answers[:, :shared])
    return ConfidenceCalibration.fit(certain, held_out.correct, weights=ratios)


def density_ratios(
    reference: Any, window: Any, *, seed: int = 0, strength: float = 1.0, max_ratio: float = MAX_RATIO
) -> Floats:
    """Estimate for each reference tweet how much more frequent tweets like it are in the window.

    A logistic regression distinguishes the two sets; its odds, times the ratio of the sizes, are the density ratio
    (Bickel, Brückner and Scheffer 2009, JMLR 10, 2137-2155). Every tweet is judged by a classifier that was fitted
    without it, since one that has learned the tweets themselves would see a shift where there is none.

    Parameters
    ----------
    reference : array or sparse matrix of shape (n_reference, n_features)
        As returned by `shift_features`, or any other description.
    window : array or sparse matrix of shape (n_answers, n_features)
    seed : int, default 0
        Of the folds.
    strength : float, default 1.0
        Inverse strength of the L2 penalty. Less finds smaller differences only in more tweets.
    max_ratio : float, default 20.0

    Returns
    -------
    float array of shape (n_reference,)
        Weights with mean 1, for `ConfidenceCalibration.fit`.

    Raises
    ------
    ValueError
        If the columns differ, or either set has fewer than `FOLDS` tweets.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    if reference.shape[1] != window.shape[1]:
        raise ValueError(f"Got {reference.shape[1]} columns of the reference and {window.shape[1]} of the window.")
    sizes = reference.shape[0], window.shape[0]
    if min(sizes) < FOLDS:
        raise ValueError(
            f"Got {sizes[0]} reference tweets and {sizes[1]} answers; at least {FOLDS} of each are needed."
        )
    both = sparse.vstack([sparse.csr_matrix(reference), sparse.csr_matrix(window)]).tocsr()
    of_window = np.repeat([0, 1], sizes)
    odds = np.empty(len(of_window))
    for fitted_on, judged in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(both, of_window):
        classifier = LogisticRegression(C=strength, max_iter=500).fit(both[fitted_on], of_window[fitted_on])
        odds[judged] = np.exp(np.clip(classifier.decision_function(both[judged]), -30, 30))
    ratios: Floats = np.minimum(odds[: sizes[0]] * sizes[0] / sizes[1], max_ratio)
    ratios /= ratios.mean()
    return ratios
