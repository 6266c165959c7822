"""TF-IDF with a linear model, as scikit-learn computes it, without loading scikit-learn.

A scikit-learn pipeline with 300,000 n-grams takes 7 s and 260 MB to load with
skops, and 2 ms per text; here it is a list of n-grams and an array of weights.
Packaging checks that both give the same results.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from polarity.errors import ArtifactError
from polarity.text.ngrams import ngrams_of_word, word_ngrams, word_ngrams_with_parts
from polarity.text.word_cache import MIB, WordCache

FloatArray = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

VOCABULARY = "ngrams.json"
WEIGHTS = "weights.npz"
TFIDF_FILES = (VOCABULARY, WEIGHTS)
# Of each block of character n-grams: some 70,000 words.
CACHE_BYTES = 32 * MIB


class NgramBlock(msgspec.Struct, frozen=True):
    """The n-grams of one vectoriser, in the order of its columns."""

    kind: Literal["words", "characters"]
    shortest: int
    longest: int
    ngrams: list[str]


class TfidfModel:
    """Sublinear TF-IDF of each block, scaled to unit length, times the weights of a linear model.

    Parameters
    ----------
    blocks : sequence of NgramBlock
        In the order of the columns.
    idf : float32 array of shape (n_columns,)
        Inverse document frequencies.
    coefficients : float32 array of shape (n_labels, n_columns)
        Weights of the linear model.
    intercepts : float32 array of shape (n_labels,)
        Its intercepts.
    """

    def __init__(
        self, blocks: Sequence[NgramBlock], *, idf: FloatArray, coefficients: FloatArray, intercepts: FloatArray
    ) -> None:
        self._blocks = blocks
        self._idf = idf
        self._intercepts = intercepts
        self._coefficients = coefficients
        self._starts = np.cumsum([0, *(len(block.ngrams) for block in blocks)]).tolist()
        # For each block, keyed by its first column: the columns by n-gram.
        self._columns = {
            start: {ngram: number for number, ngram in enumerate(block.ngrams, start)}
            for block, start in zip(blocks, self._starts, strict=False)
        }
        self._readers = [
            _reader(block, self._columns[start]) for block, start in zip(blocks, self._starts, strict=False)
        ]

    @classmethod
    def load(cls, folder: Path) -> TfidfModel:
        """Load a model that `save` wrote.

        Raises
        ------
        ArtifactError
            If the weights do not belong to the n-grams, or are not numbers.
        """
        blocks = msgspec.json.decode((folder / VOCABULARY).read_bytes(), type=list[NgramBlock])
        with np.load(folder / WEIGHTS) as file:
            weights = {name: file[name] for name in ("idf", "coefficients", "intercepts")}
        n_columns, n_labels = sum(len(block.ngrams) for block in blocks), len(weights["intercepts"])
        expected = {"idf": (n_columns,), "coefficients": (n_labels, n_columns), "intercepts": (n_labels,)}
        for name, shape in expected.items():
            if weights[name].shape != shape:
                raise ArtifactError(f"{WEIGHTS} has {name} of shape {weights[name].shape}; expected {shape}.")
            if not np.isfinite(weights[name]).all():
                raise ArtifactError(f"{WEIGHTS} has {name} that are not finite numbers.")
        return cls(blocks, **weights)

    def save(self, folder: Path) -> None:
        """Write two files into `folder`."""
        (folder / VOCABULARY).write_bytes(msgspec.json.encode(self._blocks))
        with (folder / WEIGHTS).open("wb") as file:
            np.savez(file, idf=self._idf, coefficients=self._coefficients, intercepts=self._intercepts)

    def logits(self, texts: Sequence[str]) -> FloatArray:
        """Logits of shape (n_texts, n_labels)."""
        total = np.tile(self._intercepts, (len(texts), 1))
        group, columns, values = self._values(texts)
        n_groups = len(texts) * len(self._readers)
        for label, coefficients in enumerate(self._coefficients):
            shares = np.bincount(group, values * coefficients[columns], minlength=n_groups)
            total[:, label] += shares.reshape(len(texts), -1).sum(axis=1)
        return total

    def shares(self, text: str) -> FloatArray:
        """Each word's contribution to the logits.

        An n-gram contributes its value times its weight to a logit, shared equally
        by the words that it consists of. This is exact: the sum over all columns
        equals the result of `logits`.

        Returns
        -------
        float32 array of shape (n_labels, 1 + n_words)
            The first column is the contribution of no word: the intercepts, and
            the boundary marks of an empty tweet.
        """
        _, columns, values = self._values([text])
        value_of = dict(zip(columns.tolist(), values.tolist(), strict=True))
        placed = [
            pair
            for block, start in zip(self._blocks, self._starts, strict=False)
            for pair in self._placed(block, start, text)
        ]
        times = Counter(column for column, _ in placed)
        at, of, weights = [], [], []
        for column, parts in placed:
            for part in parts or (-1,):
                at.append(1 + part)
                of.append(column)
                weights.append(value_of[column] / times[column] / max(1, len(parts)))
        n_words = len(text.split())
        found = np.zeros((len(self._intercepts), 1 + n_words), dtype=np.float32)
        found[:, 0] = self._intercepts
        for label, coefficients in enumerate(self._coefficients):
            found[label] += np.bincount(at, coefficients[of] * weights, minlength=1 + n_words) if at else 0
        return found

    def _placed(self, block: NgramBlock, start: int, text: str) -> Iterator[tuple[int, Collection[int]]]:
        """The columns of a text's n-grams in one block, with the positions of the words that each consists of."""
        if block.kind == "words":
            placed: Iterable[tuple[str, Collection[int]]] = word_ngrams_with_parts(
                text, shortest=block.shortest, longest=block.longest
            )
        else:
            placed = (
                (ngram, (number,))
                for number, word in enumerate(text.lower().split())
                for ngram in ngrams_of_word(word, shortest=block.shortest, longest=block.longest)
            )
        column = self._columns[start]
        return ((column[ngram], parts) for ngram, parts in placed if ngram in column)

    def _values(self, texts: Sequence[str]) -> tuple[Ids, Ids, FloatArray]:
        """The non-zero TF-IDF entries of `texts`: group, column and value of each.

        A text has one group per block, and each group's values have unit length.
        All groups are computed in one pass, because for a single text the NumPy calls
        cost more than the arithmetic.
        """
        found = [read(text) for text in texts for read in self._readers]
        pairs = np.concatenate(found)
        pairs += np.repeat(np.arange(len(found)) * len(self._idf), [len(columns) for columns in found])
        pairs.sort()
        starts = np.flatnonzero(np.diff(pairs, prepend=-1))
        counts = np.diff(starts, append=len(pairs))
        group, columns = np.divmod(pairs[starts], len(self._idf))
        values = (1 + np.log(counts, dtype=np.float32)) * self._idf[columns]
        length = np.sqrt(np.bincount(group, values * values, minlength=len(found)))
        return group, columns, values / length[group]


def _reader(block: NgramBlock, column: Mapping[str, int]) -> Callable[[str], Ids]:
    """A function that returns the columns of a text's n-grams in one block."""
    nothing = np.empty(0, dtype=np.int64)

    def columns(ngrams: Iterable[str]) -> Ids:
        return np.array([found for ngram in ngrams if (found := column.get(ngram)) is not None], dtype=np.int64)

    if block.kind == "words":
        return lambda text: columns(word_ngrams(text, shortest=block.shortest, longest=block.longest))

    cached: WordCache[Ids] = WordCache(
        lambda word: columns(ngrams_of_word(word, shortest=block.shortest, longest=block.longest)),
        sys.getsizeof,
        max_bytes=CACHE_BYTES,
    )
    columns_of_word = cached.__getitem__
    return lambda text: np.concatenate([nothing, *map(columns_of_word, text.lower().split())])
