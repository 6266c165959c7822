"""Words and their numbers."""

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
    """The words that a model knows; 0 is padding, 1 any other word.

    Parameters
    ----------
    words : tuple of str
        Their numbers are 2, 3, ...
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, counts: Counter[str], *, known: Container[str], size: int) -> Vocabulary:
        """The `size` most frequent words that have a vector already or occur at least twice.

        What is left out, rare words without a vector, is what the unknown word's vector is trained on.
        """
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls(tuple(word for word, count in ranked if count > 1 or word in known)[:size])

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read what `write` wrote."""
        return cls(tuple(msgspec.json.decode(path.read_bytes(), type=list[str])))

    def write(self, path: Path) -> None:
        """Write a JSON list."""
        path.write_bytes(msgspec.json.encode(self.words))

    def __len__(self) -> int:
        return len(self.words)

    @property
    def rows(self) -> int:
        """Vectors that are needed, with those of padding and the unknown word."""
        return FIRST + len(self.words)

    def ids(self, tokens: Sequence[str], *, limit: int | None) -> list[int]:
        """Numbers of the first `limit` tokens; an empty text reads as one unknown word."""
        numbers = self._numbers
        return [numbers.get(token, UNKNOWN) for token in tokens[:limit]] or [UNKNOWN]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, FIRST)}
