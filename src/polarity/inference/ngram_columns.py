"""The columns of n-grams in many texts at once: what a word contributes is looked up once and kept as bytes.

Joining the n-grams of each text as strings and looking each up is two thirds of a prediction. Here a word is looked up
whole. Its character n-grams are columns; its tokens are numbers, and n-grams of tokens are found for a whole batch by
NumPy.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import product, repeat
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from polarity.text.ngrams import CLAUSE_ENDS, NEGATION_REACH, NEGATIONS, negated, ngrams_of_word
from polarity.text.segmentation import split_words
from polarity.text.tokens import tokens_of_word
from polarity.text.word_cache import MIB, WordCache

Ids = npt.NDArray[np.int32]
Keys = npt.NDArray[np.int64]

# Of each block of n-grams: some 70,000 words.
CACHE_BYTES = 32 * MIB
_NONE = -1
# Token numbers with a meaning of their own. An unknown token is in no n-gram, but it is a word to a negation.
_UNKNOWN, _BREAK, _START, _END, _FIRST = range(5)
_START_TEXT, _END_TEXT = (np.array(ids, np.int32).tobytes() for ids in ([_BREAK, _START], [_END]))
_BYTES = np.dtype(np.int32).itemsize


class Found(NamedTuple):
    """Columns of n-grams in texts, and the text of each; an n-gram that occurs twice is there twice."""

    text: Ids
    column: Ids


class Columns(Protocol):
    """Finds the columns of one kind of n-grams."""

    def find(self, texts: Sequence[str]) -> list[Found]:
        """The columns of all n-grams in `texts`, in any order."""
        ...


class CharacterColumns:
    """Columns of the character n-grams within words.

    Parameters
    ----------
    columns : mapping
        Column by n-gram.
    shortest, longest : int
        Number of characters.
    """

    def __init__(self, columns: Mapping[str, int], *, shortest: int, longest: int) -> None:
        def of_word(word: str) -> bytes:
            ngrams = ngrams_of_word(word, shortest=shortest, longest=longest)
            found = [column for ngram in ngrams if (column := columns.get(ngram)) is not None]
            return np.array(found, np.int32).tobytes()

        self._of_word = WordCache(of_word, sys.getsizeof, max_bytes=CACHE_BYTES).__getitem__

    def find(self, texts: Sequence[str]) -> list[Found]:
        """The columns of all n-grams in `texts`."""
        of_word = self._of_word
        return [_found([b"".join(map(of_word, split_words(text.lower()))) for text in texts])]


class WordColumns:
    """Columns of the n-grams of `polarity.text.ngrams.word_ngrams`.

    Parameters
    ----------
    columns : mapping
        Column by n-gram.
    shortest, longest : int
        Number of tokens.
    """

    def __init__(self, columns: Mapping[str, int], *, shortest: int, longest: int) -> None:
        numbers: dict[str, int] = {}
        for token in (*sorted(NEGATIONS | CLAUSE_ENDS), "^", "$"):
            numbers[token] = _FIRST + len(numbers)
        prefix = negated("")
        paths, ends = [], []
        for ngram, column in columns.items():
            tokens = ngram.split(" ")
            for token in tokens:
                numbers.setdefault(token, _FIRST + len(numbers))
            if ngram.startswith(prefix):
                numbers.setdefault(ngram.removeprefix(prefix), _FIRST + len(numbers))
            if max(2, shortest) <= len(tokens) <= longest:
                path = [numbers[token] for token in tokens]
                # The signs that mark the boundaries are also tokens of their own.
                firsts = (path[0], _START) if tokens[0] == "^" else path[:1]
                lasts = (path[-1], _END) if tokens[-1] == "$" else path[-1:]
                for first, last in product(firsts, lasts):
                    paths.append([first, *path[1:-1], last, *repeat(_UNKNOWN, longest - len(path))])
                    ends.append(column)

        def of_word(word: str) -> bytes:
            return np.array([numbers.get(token, _UNKNOWN) for token in tokens_of_word(word)], np.int32).tobytes()

        self._of_word = WordCache(of_word, sys.getsizeof, max_bytes=CACHE_BYTES).__getitem__
        self._size = _FIRST + len(numbers)
        self._single = np.full(self._size, _NONE, np.int32)
        self._negated = self._single.copy()
        for token, number in numbers.items():
            self._negated[number] = columns.get(negated(token), _NONE)
            if shortest == 1:
                self._single[number] = columns.get(token, _NONE)
        self._negation = np.zeros(self._size, np.bool_)
        self._negation[[numbers[token] for token in NEGATIONS]] = True
        # What ends the scope of a negation, or begins another one, is not negated itself.
        self._plain = np.ones(self._size, np.bool_)
        self._plain[[_BREAK, *(numbers[token] for token in NEGATIONS | CLAUSE_ENDS)]] = False
        self._longer = _levels(np.array(paths, np.int64).reshape(-1, longest), np.array(ends, np.int32), self._size)

    def find(self, texts: Sequence[str]) -> list[Found]:
        """The columns of all n-grams in `texts`."""
        of_word = self._of_word
        given = [b"".join([_START_TEXT, *map(of_word, split_words(text)), _END_TEXT]) for text in texts]
        text, tokens = _found(given)
        found = [_known(text, self._single[tokens])]
        nodes = tokens
        for size, level in enumerate(self._longer, start=2):
            nodes, columns = level.follow(nodes[: len(tokens) - size + 1], tokens[size - 1 :], self._size)
            found.append(_known(text[: len(columns)], columns))
        if (scope := self._negation[tokens]).any():
            plain = self._plain[tokens]
            negated = np.zeros(len(tokens), np.bool_)
            for _ in range(NEGATION_REACH):
                scope[1:] = scope[:-1] & plain[1:]
                scope[0] = False
                negated |= scope
            found.append(_known(text[negated], self._negated[tokens[negated]]))
        return found


class _Level:
    """The n-grams of one length, each as a pair: the number of all its tokens but the last, and the last one."""

    def __init__(self, keys: Keys, columns: Ids) -> None:
        # No pair is as large as the last one.
        self._keys = np.append(keys, np.iinfo(np.int64).max)
        self._columns = np.append(columns, np.int32(_NONE))

    def follow(self, nodes: Ids, tokens: Ids, size: int) -> tuple[Ids, Ids]:
        """The number of each pair, and its column."""
        keys = nodes.astype(np.int64)
        keys *= size
        keys += tokens
        at = self._keys.searchsorted(keys)
        at[self._keys[at] != keys] = -1
        return at + 1, self._columns[at]


def _levels(paths: Keys, columns: Ids, size: int) -> list[_Level]:
    """The n-grams of two tokens, of three, and so on.

    Parameters
    ----------
    paths : int64 array of shape (n_ngrams, longest)
        Their tokens, then zeros.
    columns : int32 array of shape (n_ngrams,)
    size : int
        Number of tokens.
    """
    nodes = paths[:, 0]
    levels = []
    for last in range(1, paths.shape[1]):
        used = paths[:, last] != _UNKNOWN
        paths, columns, nodes = paths[used], columns[used], nodes[used]
        keys, at = np.unique(nodes * size + paths[:, last], return_inverse=True)
        whole = slice(None) if last + 1 == paths.shape[1] else paths[:, last + 1] == _UNKNOWN
        found = np.full(len(keys), _NONE, np.int32)
        found[at[whole]] = columns[whole]
        levels.append(_Level(keys, found))
        nodes = at + 1
    return levels


def _found(given: Sequence[bytes]) -> Found:
    """The numbers of each text as one array, and the text of each."""
    numbers = np.frombuffer(b"".join(given), np.int32)
    if len(given) == 1:
        return Found(np.zeros(len(numbers), np.int32), numbers)
    return Found(np.repeat(np.arange(len(given), dtype=np.int32), [len(one) // _BYTES for one in given]), numbers)


def _known(text: Ids, column: Ids) -> Found:
    known = column != _NONE
    return Found(text[known], column[known])
