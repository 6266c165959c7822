"""Words as people count them, not as a model does: runs of letters, and which of them were trained on."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from polarity.text.segmentation import LETTER, split_words
from polarity.text.word_cache import MIB, WordCache

LINK = re.compile(r"https?:/\S*|www\.\S+", re.IGNORECASE)
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# Patterns that begin with the sign itself, and look behind it, are searched for many times faster.
MENTION = re.compile(r"@(?<![\w@]@)\w+")
_IN_ADDRESS = re.compile(r"@(?<=[\w.+-]@)[\w-]")
# A record with masked texts has `http` for each link; what is compared with it must not count that as a word either.
_MASKED_LINK = "http"
_WORD = re.compile(rf"{LETTER}+(?:['’]{LETTER}+)*")
_ASCII_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


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
    """The runs of letters outside links and mentions, in lower case; the same of a masked text."""
    text = text.lower()
    if "@" in text:
        text = MENTION.sub(" ", replace_addresses(text, " "))
    if linked := has_link(text):
        text = LINK.sub(" ", text)
    words = _ASCII_WORD.findall(text) if text.isascii() else _WORD.findall(" ".join(split_words(text)))
    return [word for word in words if word != _MASKED_LINK] if linked else words


def replace_addresses(text: str, by: str) -> str:
    """Replace e-mail addresses; a text without one is not searched for what could begin it."""
    return ADDRESS.sub(by, text) if _IN_ADDRESS.search(text) else text


def has_link(lower: str) -> bool:
    """Whether a text in lower case may have a link; cheaper than searching for one."""
    return "http" in lower or "www." in lower


def _checksum(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "replace"))
