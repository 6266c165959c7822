"""Words as people count them, not as a model does: runs of letters, and which of them were trained on."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from polarity.text.word_cache import MIB, WordCache

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
        # Most words of a tweet are frequent ones: looking them up costs a fifth of their checksum.
        self._judged: WordCache[bool] = WordCache(self.__contains__, lambda _: 0, max_bytes=4 * MIB)

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

    def unknown_share(self, words: list[str]) -> float | None:
        """The share of `words` that is not known, or `None` if there are none."""
        if not words:
            return None
        return (len(words) - sum(map(self._judged.__getitem__, words))) / len(words)


def words_of(text: str) -> list[str]:
    """The runs of letters outside links and mentions, in lower case."""
    text = text.lower()
    if "@" in text:
        text = MENTION.sub(" ", ADDRESS.sub(" ", text))
    if has_link(text):
        text = LINK.sub(" ", text)
    return _WORD.findall(text)


def has_link(lower: str) -> bool:
    """Whether a text in lower case may have a link; cheaper than searching for one."""
    return "http" in lower or "www." in lower


def _checksum(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "replace"))
