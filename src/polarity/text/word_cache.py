"""A cache of what words are turned into, bounded by bytes whatever the words are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

V = TypeVar("V")

MIB = 1024 * 1024
# Longer ones are links, runs of a letter, or an attack: they do not recur.
CACHED_CHARACTERS = 24
# An entry's share of the table, and the key's hash.
_ENTRY_BYTES = 128


class WordCache(dict[str, V]):
    """A mapping that computes the values of missing words; `cache[word]` never raises `KeyError`.

    A dictionary, because a hit then costs no Python call: half a tweet's tokenising is looking up its words. Words
    that are in use survive when it is full: it holds two generations, and a word of the older one moves to the newer
    one when it recurs.

    Parameters
    ----------
    compute : callable
        Returns the value of a word.
    size_bytes : callable
        Returns the memory that a value takes.
    max_bytes : int
        Maximum memory of both generations, keys included.
    """

    def __init__(self, compute: Callable[[str], V], size_bytes: Callable[[V], int], *, max_bytes: int) -> None:
        super().__init__()
        self._compute = compute
        self._size_bytes = size_bytes
        self._room = max_bytes // 2
        self._older: dict[str, V] = {}
        self.used_bytes = 0
        """Memory of the newer generation; the older one takes at most `max_bytes / 2`."""

    def __missing__(self, word: str) -> V:
        if len(word) > CACHED_CHARACTERS:
            return self._compute(word)
        found = self._older.get(word)
        value = self._compute(word) if found is None else found
        size = sys.getsizeof(word) + self._size_bytes(value) + _ENTRY_BYTES
        if self.used_bytes + size > self._room:
            self._older, self.used_bytes = dict(self), 0
            self.clear()
        self[word] = value
        self.used_bytes += size
        return value
