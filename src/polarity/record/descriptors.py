"""Numbers that describe a text without giving it away, and the masked form of a text."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from polarity.text.words import ADDRESS, LINK, MENTION, KnownWords, has_link, words_of

_HASHTAG = re.compile(r"(?<!\w)#\w*[^\W\d_]\w*")
# Seven digits and more, with the usual separators: telephone numbers, accounts, cards.
_LONG_NUMBER = re.compile(r"(?<![\w])\+?\d(?:[ ()./-]{0,2}\d){6,}(?!\w)")
_PICTURE = "[\u2600-\u27bf\u2b00-\u2bff\U0001f300-\U0001f3fa\U0001f400-\U0001faff]"
_MODIFIERS = "[\ufe0f\U0001f3fb-\U0001f3ff]*"
# Joined pictures (a family, a profession) and the two letters of a flag are one emoji each.
_EMOJI = re.compile(f"{_PICTURE}{_MODIFIERS}(?:\u200d{_PICTURE}{_MODIFIERS})*|[\U0001f1e6-\U0001f1ff]{{2}}")


class Descriptors(NamedTuple):
    """What a text looked like.

    `words` are runs of letters outside links and mentions; in scripts without blanks between words, such a run is
    longer than a word. `unknown_share` is the share of them that no training tweet has, or `None` without a list of
    known words or without words. `script` is that of most letters, as Unicode names it in lower case, or `None` without
    letters.
    """

    characters: int
    words: int
    unknown_share: float | None
    links: int
    mentions: int
    hashtags: int
    emoji: int
    script: str | None


def describe(text: str, known: KnownWords | None = None) -> Descriptors:
    """Count what a text consists of.

    Parameters
    ----------
    text : str
        The text as the client sent it.
    known : KnownWords, optional
        The words of the training tweets.
    """
    words = words_of(text)
    return Descriptors(
        characters=len(text),
        words=len(words),
        unknown_share=known.unknown_share(words) if known else None,
        links=len(LINK.findall(text)) if has_link(text.lower()) else 0,
        mentions=len(MENTION.findall(text)) if "@" in text else 0,
        hashtags=len(_HASHTAG.findall(text)) if "#" in text else 0,
        emoji=0 if text.isascii() else len(_EMOJI.findall(text)),
        script=_script(text),
    )


def mask(text: str) -> str:
    """Replace user names, links, e-mail addresses and long numbers by `@user`, `http`, `@address` and `0000000`.

    The rest stays as it is, so that a model can learn from it.
    """
    if "@" in text or "/" in text or "." in text:
        text = LINK.sub("http", text)
        text = ADDRESS.sub("@address", text)
        text = MENTION.sub(lambda match: match[0] if match[0] == "@address" else "@user", text)
    return _LONG_NUMBER.sub("0000000", text)


def _script(text: str) -> str | None:
    if text.isascii():
        return "latin" if any(map(str.isalpha, text)) else None
    found = Counter(map(_script_of, filter(str.isalpha, text)))
    return found.most_common(1)[0][0] if found else None


@lru_cache(maxsize=4096)
def _script_of(letter: str) -> str:
    name = unicodedata.name(letter, "unknown").lower()
    # "HALFWIDTH KATAKANA LETTER A", "FULLWIDTH LATIN SMALL LETTER B"
    return name.removeprefix("halfwidth ").removeprefix("fullwidth ").partition(" ")[0]
