"""Numbers that describe a text without giving it away, and the masked form of a text."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from polarity.text.segmentation import HASHTAG
from polarity.text.words import LINK, MENTION, KnownWords, has_link, replace_addresses, words_of

_MASKED_LINK = re.compile(r"(?<!\w)http(?!\w)")
_NAME = re.compile(r"@(?<![\w@]@)(?!address\b)\w+")
_HASHTAG = re.compile(rf"(?<!\w){HASHTAG}")
_DIGIT = re.compile(r"\d")
# Seven digits and more, with the usual separators: telephone numbers, accounts, cards.
_LONG_NUMBER = re.compile(r"(?<![\w])\+?\d(?:[ ()./-]{0,2}\d){6,}(?!\w)")
_PICTURE = "[\u2600-\u27bf\u2b00-\u2bff\U0001f300-\U0001f3fa\U0001f400-\U0001faff]"
_MODIFIERS = "[\ufe0f\U0001f3fb-\U0001f3ff]*"
# Joined pictures (a family, a profession) and the two letters of a flag are one emoji each.
_EMOJI = re.compile(f"{_PICTURE}{_MODIFIERS}(?:\u200d{_PICTURE}{_MODIFIERS})*|[\U0001f1e6-\U0001f1ff]{{2}}")


class Descriptors(NamedTuple):
    """What a text looked like.

    `words` are runs of letters outside links and mentions. `unknown_share` is the share of them that no training tweet
    has, or `None` without a list of known words or without words. `script` is that of most letters, as Unicode names it
    in lower case, or `None` without letters.
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

    A masked text has the same descriptors as the text that it was: a model that learned from masked texts is compared
    with answers to texts as clients send them. So `characters` is the length of the masked text.

    Parameters
    ----------
    text : str
        The text as the client sent it.
    known : KnownWords, optional
        The words of the training tweets.
    """
    text = mask(text)
    words = words_of(text)
    return Descriptors(
        characters=len(text),
        words=len(words),
        unknown_share=known.unknown_share(words) if known else None,
        links=len(_MASKED_LINK.findall(text)) if "http" in text else 0,
        mentions=len(_NAME.findall(text)) if "@" in text else 0,
        hashtags=len(_HASHTAG.findall(text)) if "#" in text else 0,
        emoji=0 if text.isascii() else len(_EMOJI.findall(text)),
        script=_script(text),
    )


def mask(text: str) -> str:
    """Replace user names, links, e-mail addresses and long numbers by `@user`, `http`, `@address` and `0000000`.

    The rest stays as it is, so that a model can learn from it.
    """
    if has_link(text.lower()):
        text = LINK.sub("http", text)
    if "@" in text:
        text = replace_addresses(text, "@address")
        text = MENTION.sub(lambda match: match[0] if match[0] == "@address" else "@user", text)
    return _LONG_NUMBER.sub("0000000", text) if _DIGIT.search(text) else text


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
