"""Histograms of durations with ten buckets a decade: small enough to keep for every minute, and they add up."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

_PER_DECADE = 10
EDGES = tuple(10 ** (n / _PER_DECADE) for n in range(-4 * _PER_DECADE, 2 * _PER_DECADE + 1))
"""Upper edges of all buckets but the last, in seconds: 0.1 ms to 100 s."""


def empty() -> list[int]:
    """A histogram without durations."""
    return [0] * (len(EDGES) + 1)


def bucket_of(seconds: float) -> int:
    """Index of the bucket of a duration."""
    return bisect_left(EDGES, seconds)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The upper edge of the bucket that holds a quantile, in seconds: at most 26 % above the exact value.

    Parameters
    ----------
    counts : sequence of int
        A histogram, or the sum of several.
    share : float
        Between 0 and 1; 0.95 for the 95th percentile.

    Returns
    -------
    float or None
        `None` if the histogram is empty.
    """
    rank = share * sum(counts)
    if not rank:
        return None
    below = 0
    for edge, count in zip((*EDGES, float("inf")), counts, strict=True):
        below += count
        if below >= rank:
            return edge
    return float("inf")
