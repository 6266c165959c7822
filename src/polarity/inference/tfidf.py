"""TF-IDF with a linear model, as scikit-learn computes it, without loading scikit-learn.

A scikit-learn pipeline with 300,000 n-grams takes 7 s and 260 MB to load with
skops, and 2 ms per text; here it is a list of n-grams and an array of weights.
Packaging checks that both give the same results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from polarity.errors import ArtifactError
from polarity.inference.ngram_columns import CharacterColumns, Columns, WordColumns
from polarity.text.ngrams import ngrams_of_word, word_ngrams_with_parts
from polarity.text.segmentation import split_words

FloatArray = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

VOCABULARY = "ngrams.json"
WEIGHTS = "weights.npz"
TFIDF_FILES = (VOCABULARY, WEIGHTS)


class NgramBlock(msgspec.Struct, frozen=True):
    """The n-grams of one vectoriser, in the order of its columns."""

    kind: Literal["words", "characters"]
    shortest: Annotated[int, msgspec.Meta(ge=1)]
    longest: Annotated[int, msgspec.Meta(ge=1, le=100)]
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
        self._found: list[Columns] = [
            (WordColumns if block.kind == "words" else CharacterColumns)(
                self._columns[start], shortest=block.shortest, longest=block.longest
            )
            for block, start in zip(blocks, self._starts, strict=False)
        ]
        # The logit of two labels' first one is 0: it has no weights to add up.
        self._weighted = [(label, row) for label, row in enumerate(coefficients) if row.any()]
        self._column_bits = max(1, (len(idf) - 1).bit_length())

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
        n_groups = len(texts) * len(self._blocks)
        for label, coefficients in self._weighted:
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
        n_words = len(split_words(text))
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
                for number, word in enumerate(split_words(text.lower()))
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
        n_blocks, bits = len(self._blocks), self._column_bits
        n_groups = len(texts) * n_blocks
        # Sorting 32 bits takes half as long as 64; only thousands of texts need these.
        kind: npt.DTypeLike = np.int32 if n_groups < 1 << (31 - bits) else np.int64
        pairs = np.concatenate(
            [
                ((text.astype(kind) * n_blocks + block) << bits) | column
                for block, columns in enumerate(self._found)
                for text, column in columns.find(texts)
            ]
        )
        pairs.sort()
        first = np.empty(len(pairs) + 1, np.bool_)
        first[:1] = first[-1:] = True
        np.not_equal(pairs[1:], pairs[:-1], out=first[1:-1])
        starts = np.flatnonzero(first)
        counts = starts[1:] - starts[:-1]
        pairs = pairs[starts[:-1]]
        group, columns = pairs >> bits, pairs & ((1 << bits) - 1)
        values = (1 + np.log(counts, dtype=np.float32)) * self._idf[columns]
        length = np.sqrt(np.bincount(group, values * values, minlength=n_groups))
        return group, columns, values / length[group]
