"""How much more frequent tweets like those of the reference are in a window, by a classifier of the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from polarity.text.tokens import tokenize
from polarity.watch.estimates import Floats, probabilities_of

FOLDS = 5
MAX_RATIO = 20.0
"""Ratios are cut here. A single reference tweet would otherwise stand for a large part of the window."""
_WORDS = 2**14


def shift_features(texts: Sequence[str], confidence: npt.ArrayLike) -> sparse.csr_matrix:
    """Describe answered tweets by the model's confidence, the form of the text and its words.

    Parameters
    ----------
    texts : sequence of str, length n
        Repaired texts (`polarity.text.cleaning`).
    confidence : float array of shape (n,)
        The served model's probability of each answered label.

    Returns
    -------
    sparse float matrix of shape (n, n_features)
        The same columns for any texts: nothing is fitted.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    scores = probabilities_of(confidence, "confidence")
    if len(texts) != len(scores):
        raise ValueError(f"Got {len(texts)} texts and {len(scores)} confidences; the numbers must be equal.")
    words = HashingVectorizer(analyzer=tokenize, n_features=_WORDS, alternate_sign=False, binary=True, norm="l2")
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    form = [
        (len(text) / 100, len(text.split()) / 20, "@" in text, "#" in text, "http" in text, "!" in text, "?" in text)
        for text in texts
    ]
    dense = np.column_stack([np.log(inside / (1 - inside)), np.array(form, dtype=np.float64)])
    return sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(dense), words.transform(texts)]))


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
