"""Chance of the draw of tweets where the same text occurs several times: the draw is of texts, not of tweets.

Texts count as the same if their key is the same (`polarity.data.splits`). Copies of a text are nearly always predicted
alike, so they are hardly more evidence than one of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from polarity.text.tweets import IntArray


def repeated_texts(groups: npt.ArrayLike | None, rows: int) -> IntArray | None:
    """Number the texts of the tweets from 0, if any text occurs several times.

    Parameters
    ----------
    groups : int array of shape (n,) or None
        Equal for tweets with the same text. None: every text occurs once.
    rows : int
        Number of tweets, n.

    Returns
    -------
    int array of shape (n,), or None
        None if every text occurs once: then resampling texts is resampling tweets.

    Raises
    ------
    ValueError
        If there are not as many groups as tweets.
    """
    if groups is None:
        return None
    found = np.asarray(groups)
    if found.shape != (rows,):
        raise ValueError(f"Got groups of shape {found.shape} for {rows} tweets; the shape must be ({rows},).")
    distinct, texts = np.unique(found, return_inverse=True)
    return None if len(distinct) == rows else texts.astype(np.int64)


def resampled_counts(
    cells: npt.NDArray[Any], texts: IntArray | None, *, n_cells: int, seed: int, resamples: int
) -> IntArray:
    """Count the tweets in each cell of a table in bootstrap resamples of the texts.

    Texts are drawn with replacement, each with all of its tweets: the cluster bootstrap (Davison and Hinkley 1997,
    Bootstrap Methods and their Application, 3.8; Field and Welsh 2007, JRSS B 69, 369-390). Texts with the same counts
    in every cell are interchangeable, so how often each kind is drawn is multinomial, and the cost does not depend on
    the number of tweets.

    Parameters
    ----------
    cells : int array of shape (n,)
        The cell of each tweet, from 0 to `n_cells` - 1.
    texts : int array of shape (n,) or None
        As returned by `repeated_texts`.
    n_cells : int
    seed : int
    resamples : int

    Returns
    -------
    int array of shape (resamples, n_cells)
    """
    random = np.random.default_rng(seed)
    if texts is None:
        return random.multinomial(len(cells), np.bincount(cells, minlength=n_cells) / len(cells), size=resamples)
    kinds, numbers = _kinds_of_text(cells, texts, n_cells)
    drawn = random.multinomial(numbers.sum(), numbers / numbers.sum(), size=resamples)
    counts: IntArray = drawn @ kinds
    return counts


def design_effect(correct: npt.NDArray[Any], texts: IntArray | None) -> float:
    """Factor by which repeated texts increase the variance of the share of `correct`, at least 1.

    It is the variance of the share as a ratio of sums over the texts, by linearisation, over that of as many
    independent tweets (Kish 1965, Survey Sampling, 8.2; Korn and Graubard 1998, Survey Methodology 24, 193-201). If no
    variance can be estimated, because all tweets are correct or none is, or there is only one text, copies of a text
    count as one observation.

    Parameters
    ----------
    correct : bool array of shape (n,)
    texts : int array of shape (n,) or None
        As returned by `repeated_texts`.
    """
    if texts is None:
        return 1.0
    rows, share = len(correct), float(correct.mean())
    sizes = np.bincount(texts)
    if share in (0.0, 1.0) or len(sizes) == 1:
        return float((sizes**2).sum() / rows)
    residuals = np.bincount(texts, weights=correct) - share * sizes
    variance = len(sizes) / (len(sizes) - 1) * float((residuals**2).sum()) / rows**2
    return max(1.0, variance / (share * (1 - share) / rows))


def _kinds_of_text(cells: npt.NDArray[Any], texts: IntArray, n_cells: int) -> tuple[IntArray, IntArray]:
    """Return the distinct counts of a text in the cells, of shape (kinds, n_cells), and the number of such texts."""
    pairs, counts = np.unique(texts * n_cells + cells, return_counts=True)
    text, cell = np.divmod(pairs, n_cells)
    alone = np.bincount(text)[text] == 1  # all tweets of the text are in one cell, as nearly always
    codes, numbers = np.unique(counts[alone] * n_cells + cell[alone], return_counts=True)
    kinds = np.zeros((len(codes), n_cells), dtype=np.int64)
    kinds[np.arange(len(codes)), codes % n_cells] = codes // n_cells
    if alone.all():
        return kinds, numbers
    spread, place = np.unique(text[~alone], return_inverse=True)
    others = np.zeros((len(spread), n_cells), dtype=np.int64)
    others[place, cell[~alone]] = counts[~alone]
    others, more = np.unique(others, axis=0, return_counts=True)
    return np.vstack([kinds, others]), np.concatenate([numbers, more])
