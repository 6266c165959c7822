"""Class balance of a training set: stratified subsamples and class weights."""

from __future__ import annotations

import numpy as np

from polarity.text.tweets import IntArray, Tweets


def stratified_subsample(tweets: Tweets, rows: int | None, *, seed: int) -> Tweets:
    """Draw at most `rows` tweets without replacement, preserving the class proportions.

    Parameters
    ----------
    tweets : Tweets
        The tweets to draw from.
    rows : int or None
        Number of tweets. None, or at least as many as there are, returns all of them in their order.
    seed : int
        Random seed; the same seed draws the same tweets.
    """
    if rows is None or rows >= len(tweets):
        return tweets
    return tweets.take(stratified_rows(tweets, rows, seed=seed))


def stratified_rows(tweets: Tweets, rows: int | None, *, seed: int) -> IntArray:
    """Return the positions of the tweets that `stratified_subsample` draws, in ascending order."""
    if rows is None or rows >= len(tweets):
        return np.arange(len(tweets), dtype=np.int64)
    random = np.random.default_rng(seed)
    order = random.permutation(len(tweets))
    by_class = [order[tweets.labels[order] == label] for label in range(len(tweets.label_names))]
    shares = np.array([len(members) for members in by_class]) * rows / len(tweets)
    counts = np.floor(shares).astype(int)
    # largest remainders first, so that the counts sum to `rows`
    for label in np.argsort(counts - shares, kind="stable")[: rows - counts.sum()]:
        counts[label] += 1
    chosen = np.concatenate([members[:count] for members, count in zip(by_class, counts, strict=True)])
    return np.sort(chosen)


def class_weights(tweets: Tweets) -> dict[int, float]:
    """Weight of each label, inversely proportional to its frequency, with an average of 1 over the tweets."""
    counts = np.bincount(tweets.labels, minlength=len(tweets.label_names))
    return {label: float(len(tweets) / (len(counts) * max(1, count))) for label, count in enumerate(counts)}
