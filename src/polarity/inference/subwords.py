"""The tokenizer of an encoder as it is packaged: `tokenizer.json`, and rules for tweets where the encoder has them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from polarity.text.bertweet import TweetNormaliser

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
TWEET_RULES = "tweet_rules.json"


class TweetRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What BERTweet does to a tweet before and after its tokenizer.

    Attributes
    ----------
    normalise : bool
        Whether user names, links, emoji and contractions are rewritten first.
    emoji : dict
        The name of each emoji, e.g. `:red_heart:`.
    vocabulary : int
        Ids from here on stand for pieces that the encoder does not know.
    unknown : int
        The id that replaces them.
    """

    normalise: bool
    emoji: dict[str, str]
    vocabulary: int
    unknown: int


class SubwordTokenizer:
    """Texts -> token ids, special tokens included and truncated as the tokenizer's file says.

    Parameters
    ----------
    definition : str
        Content of `tokenizer.json`.
    rules : TweetRules, optional
        Present if the encoder is a BERTweet.
    """

    def __init__(self, definition: str, rules: TweetRules | None = None) -> None:
        self.definition = definition
        self.rules = rules
        self._normalise = TweetNormaliser(rules.emoji) if rules and rules.normalise else None

    @classmethod
    def read(cls, folder: Path) -> SubwordTokenizer:
        """Read what `write` wrote."""
        rules = folder / TWEET_RULES
        return cls(
            (folder / TOKENIZER).read_text(encoding="utf-8"),
            msgspec.json.decode(rules.read_bytes(), type=TweetRules) if rules.is_file() else None,
        )

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write the tokenizer's files into a folder, and return their names."""
        (folder / TOKENIZER).write_text(self.definition, encoding="utf-8")
        if self.rules is None:
            return (TOKENIZER,)
        (folder / TWEET_RULES).write_bytes(msgspec.json.format(msgspec.json.encode(self.rules), indent=1))
        return (TOKENIZER, TWEET_RULES)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each repaired text."""
        if self._normalise is not None:
            texts = [self._normalise(text) for text in texts]
        found: list[list[int]] = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        if self.rules is not None:
            limit, unknown = self.rules.vocabulary, self.rules.unknown
            found = [[number if number < limit else unknown for number in ids] for ids in found]
        return found

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.definition)
