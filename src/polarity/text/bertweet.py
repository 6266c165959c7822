"""The form of tweets that BERTweet was pretrained on.

Nguyen, Vu and Nguyen, "BERTweet: A pre-trained language model for English Tweets", EMNLP 2020, section 3: user names
become `@USER` and links `HTTPURL`, emoji become their names, and tokens, also the two parts of a contraction, are
separated by spaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_EYES, _NOSE, _MOUTH = r"[<>]?[:;=8]", r"[\-o*']?", r"[)\](\[dDpP/:}{@|\\]"

# What may be given back is bounded or cannot begin anew inside itself, so that the time is linear in the text.
_TOKEN = re.compile(
    rf"""
    (?:(?:https?:/{{1,3}} | www\d{{0,3}}\.)[^\s<>]*[^\s<>()\[\]{{}}!;:'".,?«»“”‘’`]
       | (?<![@\w])[a-z0-9]{{1,63}}(?:[.\-][a-z0-9]{{1,63}}){{0,8}}\.[a-z]{{2,13}}\b/?(?!@)
         (?:(?<=/)[^\s<>]*[^\s<>()\[\]{{}}!;:'".,?«»“”‘’`])?)
  | {_EYES}{_NOSE}{_MOUTH} | {_MOUTH}{_NOSE}[:;=8][<>]? | <3
  | <[^>\s]{{1,100}}> | -+> | <-+
  | @\w+
  | \#+\w[\w'\-]*\w
  | [\w.+\-]{{1,64}}@[\w\-]+(?:\.[\w\-]+)+
  | [^\W\d_](?:[^\W\d_]|['\-_])+[^\W\d_]
  | [+\-]?\d+[,/.:\-]\d+[+\-]?
  | \w+
  | \.(?:\s*\.)+
  | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Runs of more than three equal signs are cut to three.
_RUN = re.compile(r"([^a-zA-Z0-9])\1{3,}")

_CONTRACTIONS = (
    ("cannot ", "can not "),
    ("n't ", " n't "),
    ("n 't ", " n't "),
    ("ca n't", "can't"),
    ("ai n't", "ain't"),
    *((f"{tail} ", f" {tail} ") for tail in ("'m", "'re", "'s", "'ll", "'d", "'ve")),
    (" p . m .", "  p.m."),
    (" p . m ", " p.m "),
    (" a . m .", " a.m."),
    (" a . m ", " a.m "),
)


class TweetNormaliser:
    """Rewrites a repaired tweet as BERTweet's training data were.

    Parameters
    ----------
    emoji : mapping
        Name of each emoji of one character.

    Examples
    --------
    >>> TweetNormaliser({"❤": ":red_heart:"})("@ann I can't wait… http://t.co/x ❤")
    "@USER I can't wait ... HTTPURL :red_heart:"
    """

    def __init__(self, emoji: Mapping[str, str]) -> None:
        self._emoji = emoji

    def __call__(self, text: str) -> str:
        """The rewritten tweet, its tokens separated by single spaces."""
        text = _RUN.sub(r"\1\1\1", text.replace("’", "'").replace("…", "..."))
        written = " ".join(self._token(match[0]) for match in _TOKEN.finditer(text))
        for found, replacement in _CONTRACTIONS:
            written = written.replace(found, replacement)
        return " ".join(written.split())

    def _token(self, token: str) -> str:
        if token.startswith("@"):
            return "@USER"
        if token[:4].lower() == "http" or token[:3].lower() == "www":
            return "HTTPURL"
        return self._emoji.get(token, token)
