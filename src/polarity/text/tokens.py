"""Tokenizer that matches the vocabulary of the GloVe Twitter vectors.

Follows J. Pennington's `preprocess-twitter.rb`, the preprocessing of GloVe's
training data (Pennington, Socher, Manning, "GloVe", EMNLP 2014), and splits
contractions as the vectors do: "don't" is "do n't".
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import chain

from polarity.text.segmentation import HASHTAG, LETTER, WORD, split_words
from polarity.text.word_cache import MIB, WordCache

_EYES, _NOSE = r"[:;=8xX]", r"['\-^o]?"
# context that rules out an emoticon: "8)" in a list, "x(" in a formula, "http:/"
_ALONE, _END = r"(?<![\w:;=])", r"(?!\w)"

_TOKEN = re.compile(
    rf"""
    (?P<url>https?:/\S* | www\.\S+ | \b[\w-]++(?:\.[\w-]++)*\.(?:com|net|org|ly|gd|me|tv|co|us|uk|fm|im)\b(?:/\S*)?)
  | (?P<user>@\w+)
  | (?P<heart><3+{_END} | [♥♡❤]\ufe0f?)
  | (?P<smile>{_ALONE}[:;=]{_NOSE}[)\]D]+{_END} | {_ALONE}[xX8]{_NOSE}D+{_END} | {_ALONE}[(\[]+{_NOSE}[:;=] | \^[_.]*\^)
  | (?P<lolface>{_ALONE}{_EYES}{_NOSE}[pP]{_END})
  | (?P<sadface>{_ALONE}[:;=]['\-^o]*[(\[]+ | {_ALONE}[)\]]+{_NOSE}[:;=](?!\w) | \bD: | [-=;T]_+[-=;T] | >_+<)
  | (?P<neutralface>{_ALONE}[:=]{_NOSE}[/\\|lL*sS]{_END})
  | (?P<hashtag>{HASHTAG})
  | (?P<number>(?<![^\W_])[-+]?\$?(?:\d+(?:[:,./]\d+)*|[.,]\d+)%?(?![^\W_]))
  | (?P<word>{WORD}(?:['’`´]{WORD})*)
  | (?P<repeat>[!?.]{{2,}})
  | (?P<sign>(?P<char>[^\w\s]|_)(?:\ufe0f|\u200d|[\U0001f3fb-\U0001f3ff]|(?P=char))*)
    """,
    re.VERBOSE,
)

_CONTRACTION = re.compile(r"(?P<stem>.+?)(?P<tail>n't|'(?:s|m|re|ll|d|ve))$")
_IRREGULAR_STEMS = {"ca": "can", "wo": "will", "sha": "shall"}
_CAMEL = re.compile(rf"[A-Z]?(?:(?![A-Z]){LETTER})+|[A-Z]+(?![^\W\d_A-Z])|\d+")

_LONG_RUN = re.compile(r"([^\W\d_])\1{2,}(?P<end>$)?")
# letters that English doubles inside a word: "cooool", "sweeet", but "waaay", "niiice"
_DOUBLED = frozenset("oelstpr")


def tokenize(text: str) -> list[str]:
    """Split a repaired tweet into lower-case tokens, in any script.

    Parameters
    ----------
    text : str
        Any string.

    Returns
    -------
    list of str
        Words, punctuation, emoji and `<user>`, `<url>`, `<hashtag>`, `<number>`,
        `<smile>`, `<lolface>`, `<sadface>`, `<neutralface>`, `<heart>`; after
        the token that they modify, `<repeat>`, `<elong>` and `<allcaps>`.

    Examples
    --------
    >>> tokenize("@ann I don't LIKE it, sooo sad!!! :( http://t.co/x #MondayBlues")
    ['<user>', 'i', 'do', "n't", 'like', '<allcaps>', 'it', ',', 'so', '<elong>', 'sad', '!', '<repeat>', \
'<sadface>', '<url>', '<hashtag>', 'monday', 'blues']
    """
    return list(chain.from_iterable(map(_cached_tokens, split_words(text))))


def tokens_of_word(text: str) -> Iterator[str]:
    """Yield the tokens of a word of `polarity.text.segmentation.split_words`, without keeping them."""
    for match in _TOKEN.finditer(text):
        kind, found = match.lastgroup, match[0]
        if kind == "word":
            yield from _word(found)
        elif kind == "hashtag":
            yield "<hashtag>"
            for part in _CAMEL.findall(found):
                for word in split_words(part):
                    yield from _word(word)
        elif kind == "repeat":
            yield found[-1]
            yield "<repeat>"
        elif kind == "sign":
            yield match["char"]
            if match[0].count(match["char"]) > 1:
                yield "<repeat>"
        else:
            yield f"<{kind}>"


def _word(word: str) -> Iterator[str]:
    shouted = len(word) > 1 and word.isupper()
    lower = word.lower()
    short = _LONG_RUN.sub(_shorten, lower)
    if "'" in short or "’" in short or "`" in short or "´" in short:
        short = short.replace("’", "'").replace("`", "'").replace("´", "'")
        if contraction := _CONTRACTION.match(short):
            yield _IRREGULAR_STEMS.get(contraction["stem"], contraction["stem"])
            yield contraction["tail"]
        else:
            yield short
    else:
        yield short
    if short != lower and len(short) < len(lower):
        yield "<elong>"
    if shouted:
        yield "<allcaps>"


def _shorten(run: re.Match[str]) -> str:
    letter: str = run[1]
    return letter * 2 if run["end"] is None and letter in _DOUBLED else letter


def _size_bytes(tokens: tuple[str, ...]) -> int:
    return sys.getsizeof(tokens) + sum(map(sys.getsizeof, tokens))


# No token spans white space, and words recur across tweets: this holds some 100,000 of them.
_cache: WordCache[tuple[str, ...]] = WordCache(
    lambda word: tuple(tokens_of_word(word)), _size_bytes, max_bytes=32 * MIB
)
_cached_tokens = _cache.__getitem__
