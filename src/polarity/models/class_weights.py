"""Rare classes count for more."""

from __future__ import annotations

import numpy as np

from polarity.data.tweets import Tweets


def class_weights(tweets: Tweets) -> dict[int, float]:
    """Weight of each label, inverse to its frequency and 1 on average over the tweets."""
    counts = np.bincount(tweets.labels, minlength=len(tweets.label_names))
    return {label: float(len(tweets) / (len(counts) * max(1, count))) for label, count in enumerate(counts)}
