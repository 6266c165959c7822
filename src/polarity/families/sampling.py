"""The balance of the classes in a training set: stratified subsamples, and weights."""

from __future__ import annotations

import numpy as np

from polarity.text.tweets import Tweets


def stratified_subsample(tweets: Tweets, rows: int | None, *, seed: int) -> Tweets:
    """At most `rows` tweets, drawn without replacement, each class with its share.

    Parameters
    ----------
    tweets : Tweets
        Where to draw from.
    rows : int or None
        How many; none, or more than there are: all of them, in their order.
    seed : int
        The same seed draws the same tweets.
    """
    if rows is None or rows >= len(tweets):
        return tweets
    random = np.random.default_rng(seed)
    order = random.permutation(len(tweets))
    by_class = [order[tweets.labels[order] == label] for label in range(len(tweets.label_names))]
    shares = np.array([len(members) for members in by_class]) * rows / len(tweets)
    counts = np.floor(shares).astype(int)
    # largest remainders first, so that the counts sum to `rows`
    for label in np.argsort(counts - shares, kind="stable")[: rows - counts.sum()]:
        counts[label] += 1
    chosen = np.concatenate([members[:count] for members, count in zip(by_class, counts, strict=True)])
    return tweets.take(np.sort(chosen))


def class_weights(tweets: Tweets) -> dict[int, float]:
    """Weight of each label, inverse to its frequency and 1 on average over the tweets."""
    counts = np.bincount(tweets.labels, minlength=len(tweets.label_names))
    return {label: float(len(tweets) / (len(counts) * max(1, count))) for label, count in enumerate(counts)}
