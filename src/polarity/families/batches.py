"""Batches of tweets of similar length, padded to the longest in the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from polarity.text.tweets import IntArray

if TYPE_CHECKING:
    import tensorflow as tf

Ids = npt.NDArray[np.int32]

# Lengths are rounded up to a multiple of this to limit the number of shapes; kernels are selected per shape.
PAD_TO = 4


def bucketed_batches(
    lengths: IntArray, batch_size: int, *, random: np.random.Generator | None = None
) -> list[IntArray]:
    """Indices of the texts, in batches of similar length.

    Parameters
    ----------
    lengths : int array of shape (n,)
        Number of tokens of each text.
    batch_size : int
        Texts per batch; only the last batch may have fewer.
    random : Generator, optional
        Shuffles texts of similar length between batches, and the order of the
        batches. Without it the order is deterministic, longest texts first.
    """
    jitter = random.uniform(-2, 2, len(lengths)) if random else 0
    order = np.argsort(-(lengths + jitter), kind="stable")
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if random:
        # the incomplete batch stays last: the size of the first batch is taken as the batch size
        batches[:-1] = [batches[place] for place in random.permutation(len(batches) - 1)]
    return batches


def padded(texts: Sequence[Sequence[int]]) -> Ids:
    """Token ids as one array of shape (n_texts, n_tokens), padded with zeros."""
    longest = max(1, *(len(text) for text in texts)) if texts else 1
    ids = np.zeros((len(texts), -(-longest // PAD_TO) * PAD_TO), dtype=np.int32)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    return ids


def training_dataset(
    texts: Sequence[Sequence[int]], labels: IntArray, batch_size: int, *, seed: int, skip: int = 0
) -> tf.data.Dataset:
    """An infinite TensorFlow data set of (ids, labels), bucketed by length and reshuffled in each epoch.

    Parameters
    ----------
    texts : sequence of token ids
        As many as `labels`.
    seed : int
        Seed of the shuffling.
    skip : int
        Batches to leave out at the beginning, e.g. those that an interrupted fit has already seen.
    """
    import tensorflow as tf

    lengths = np.array([len(text) for text in texts])

    def batches() -> Iterator[tuple[Ids, Ids]]:
        random, left_out = np.random.default_rng(seed), skip
        while True:
            order = bucketed_batches(lengths, batch_size, random=random)
            for rows in order[left_out:]:
                yield padded([texts[row] for row in rows]), labels[rows].astype(np.int32)
            left_out = max(0, left_out - len(order))

    signature = (tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32))
    options = tf.data.Options()
    # There is nothing to tune, and an iterator's end waits for the tuner, which sleeps for up to a minute.
    options.autotune.enabled = False
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4).with_options(options)
