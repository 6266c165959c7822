"""Word and character n-grams of a tweet, the same for training and for serving."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

# every sign is a word of its own: "!", "?" and what is left of an emoticon tell a lot
_WORD = re.compile(r"\w+|[^\w\s]")


def word_ngrams(text: str, *, shortest: int, longest: int) -> list[str]:
    """Runs of `shortest` to `longest` neighbouring words, in lower case, joined by a space.

    Examples
    --------
    >>> word_ngrams("Not bad!", shortest=1, longest=2)
    ['not', 'bad', '!', 'not bad', 'bad !']
    """
    words = _WORD.findall(text.lower())
    grams = list(words) if shortest == 1 else []
    for size in range(max(shortest, 2), longest + 1):
        grams += map(" ".join, zip(*(words[start:] for start in range(size)), strict=False))
    return grams


def character_ngrams(text: str, *, shortest: int, longest: int) -> list[str]:
    """Runs of `shortest` to `longest` characters inside each word, in lower case; a space marks where a word ends.

    Examples
    --------
    >>> character_ngrams("no!", shortest=3, longest=4)
    [' no', 'no!', 'o! ', ' no!', 'no! ']
    """
    grams: list[str] = []
    for word in text.lower().split():
        grams += ngrams_of_word(word, shortest, longest)
    return grams


@lru_cache(maxsize=2**16)
def ngrams_of_word(word: str, shortest: int, longest: int) -> Sequence[str]:
    """The character n-grams of one word; tweets repeat their words, so they are kept."""
    padded = f" {word} "
    return tuple(
        padded[start : start + size]
        for size in range(shortest, min(longest, len(padded)) + 1)
        for start in range(len(padded) - size + 1)
    )
