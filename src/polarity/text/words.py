"""Words in the sense of whoever reads a chart, not of a model: runs of letters, and which of them were trained on."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

LINK = re.compile(r"https?:/\S*|www\.\S+", re.IGNORECASE)
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
MENTION = re.compile(r"(?<![\w@])@\w+")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


class KnownWords:
    """The words that a model was trained on, as 32-bit checksums.

    A million known words make one unknown word in four thousand pass for known (a checksum collision).

    Parameters
    ----------
    checksums : iterable of int
        CRC-32 of each lower-case word in UTF-8.
    """

    def __init__(self, checksums: Iterable[int]) -> None:
        self._checksums = frozenset(checksums)

    @classmethod
    def of(cls, texts: Iterable[str]) -> KnownWords:
        """The words that occur at least twice in `texts`: what occurs once is most often a misspelling or a name."""
        counts = Counter(word for text in texts for word in words_of(text))
        return cls(_checksum(word) for word, count in counts.items() if count > 1)

    @classmethod
    def read(cls, path: Path) -> KnownWords:
        """Read what `write` wrote."""
        return cls(np.load(path, allow_pickle=False).tolist())

    def write(self, path: Path) -> None:
        """Write the checksums in ascending order: the same words give the same file."""
        np.save(path, np.array(sorted(self._checksums), np.uint32), allow_pickle=False)

    def __len__(self) -> int:
        return len(self._checksums)

    def __contains__(self, word: str) -> bool:
        return _checksum(word) in self._checksums


def words_of(text: str) -> list[str]:
    """The runs of letters outside links and mentions, in lower case."""
    if "@" in text:
        text = MENTION.sub(" ", ADDRESS.sub(" ", text))
    if "/" in text or "." in text:
        text = LINK.sub(" ", text)
    return _WORD.findall(text.lower())


def _checksum(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "replace"))
