"""Mapping of words to ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

VOCABULARY = "vocabulary.json"
UNKNOWN = 1
FIRST = 2


@dataclass(frozen=True)
class Vocabulary:
    """The known words of a model; id 0 is padding, id 1 any unknown word.

    Parameters
    ----------
    words : tuple of str
        Their ids are 2, 3, ...
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, counts: Counter[str], *, known: Container[str], size: int) -> Vocabulary:
        """Keep the `size` most frequent words that already have a vector or occur at least twice.

        The remaining words, rare ones without a vector, train the vector of the unknown word.
        """
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls(tuple(word for word, count in ranked if count > 1 or word in known)[:size])

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read what `write` wrote."""
        return cls(tuple(msgspec.json.decode(path.read_bytes(), type=list[str])))

    def write(self, path: Path) -> None:
        """Write the words as a JSON list."""
        path.write_bytes(msgspec.json.encode(self.words))

    def __len__(self) -> int:
        return len(self.words)

    @property
    def rows(self) -> int:
        """Number of embedding rows, including padding and the unknown word."""
        return FIRST + len(self.words)

    def ids(self, tokens: Sequence[str], *, limit: int | None) -> list[int]:
        """Return the ids of the first `limit` tokens; an empty text becomes one unknown word."""
        ids = self._ids
        return [ids.get(token, UNKNOWN) for token in tokens[:limit]] or [UNKNOWN]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, FIRST)}
