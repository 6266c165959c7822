"""Where words begin and end, also in scripts that put no blanks between them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator


# Vowel signs, tone marks and accents are parts of words, but `\w` does not match them. Variation selectors belong to
# emoji.
def _ranges(codes: Iterable[int]) -> str:
    """A set of characters as ranges, which `re` compiles ten times faster than the characters one by one."""
    found: list[list[int]] = []
    for code in codes:
        if found and code == found[-1][1] + 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in found)


MARKS = _ranges(
    code
    for code in range(0x300, 0x10000)
    if unicodedata.category(chr(code)) in ("Mn", "Mc") and not 0xFE00 <= code <= 0xFE0F
)
"""Accents, vowel signs and tone marks, as the inside of a set of `re`."""
WORD_CHARACTER = rf"(?:[^\W_][{MARKS}]*)"
"""Pattern of a letter or digit, with its marks."""
WORD = rf"(?:[^\W_]++[{MARKS}]*+)++"
"""Pattern of several of them; it looks at each character once."""
LETTER = rf"(?:[^\W\d_][{MARKS}]*)"
"""Pattern of a letter, with its marks."""
HASHTAG = rf"[#](?:{WORD_CHARACTER}|_)*{LETTER}(?:{WORD_CHARACTER}|_)*"
"""Pattern of a hashtag: it has a letter, which the number of a list (`#1`) has not."""

# Thai, Lao, Burmese, Khmer, Japanese, Chinese; in order: blocks of letters, of their marks and signs of iteration.
_UNSPACED = re.compile(
    "[\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u1049\u1050-\u109f\u1780-\u17d3"
    "\u3005-\u3007\u3041-\u3096\u3099-\u309f\u30a1-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff]+"
)
_WHOLE = re.compile(rf"(?P<hashtag>{HASHTAG})|{_UNSPACED.pattern}")
_WORD = re.compile(r"\S+")
_LONG_RUN = re.compile(r"(.)\1{2,}")


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return the first index and the one behind the last of each word of a text.

    Words are separated by white space. In Thai, Lao, Burmese, Khmer, Japanese and Chinese, which have none, they are
    found by ICU's dictionaries (Unicode Standard Annex 29, section 4).

    Examples
    --------
    >>> word_spans("so sad!")
    [(0, 2), (3, 7)]
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    if text.isascii() or not _UNSPACED.search(text):
        return spans
    return [part for start, stop in spans for part in _parts(text, start, stop)]


def split_words(text: str) -> list[str]:
    """Return the words of a text, as `word_spans` finds them.

    Examples
    --------
    >>> split_words("この映画は最高!")
    ['この', '映画', 'は', '最高', '!']
    """
    if text.isascii() or not _UNSPACED.search(text):
        return text.split()
    return [text[start:stop] for start, stop in word_spans(text)]


def without_span(text: str, start: int, stop: int) -> str:
    """Return a text without the words between two indices.

    Examples
    --------
    >>> without_span("so very sad", 3, 7)
    'so sad'
    """
    return (text[:start] + text[stop:].lstrip()).rstrip()


def _parts(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Split what stands between white space: hashtags, words of unspaced scripts, and what stands between them."""
    for found in _WHOLE.finditer(text, start, stop):
        if start < found.start():
            yield start, found.start()
        if found["hashtag"]:
            yield found.span()
        else:
            yield from _dictionary_words(found[0], found.start())
        start = found.end()
    if start < stop:
        yield start, stop


def _dictionary_words(run: str, offset: int) -> Iterator[tuple[int, int]]:
    # Its libraries take 40 MB, which a process that sees only spaced scripts need not load.
    from icu4py.breakers import WordBreaker

    # No dictionary has elongated words: it is asked about the run with one letter for three or more.
    dropped = {at for long in _LONG_RUN.finditer(run) for at in range(long.start() + 1, long.end())}
    kept = [at for at in range(len(run)) if at not in dropped]
    bounds = [offset + at for at in (*kept, len(run))]
    start = 0
    for word in WordBreaker("".join(run[at] for at in kept), "root"):
        stop = start + len(word)
        yield bounds[start], bounds[stop]
        start = stop
