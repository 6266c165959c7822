"""Labels at a distance: the emoticons of a tweet say its sentiment, as in Sentiment140.

Go, Bhayani and Huang 2009, Twitter Sentiment Classification using Distant Supervision, section 2.3: the emoticons are
removed from the text, or a model would learn nothing else; tweets with emoticons of both kinds are set aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from scipy.stats import binomtest

_EYES, _NOSE = r"(?<![\w:;=])[:=]", r"[-^o']?\s?"
_POSITIVE = re.compile(rf"{_EYES}{_NOSE}[)\]D]+(?!\w)|(?<!\w);-?[)D](?!\w)|(?<!\S)<3+(?!\S)|(?<!\w)\(:(?!\w)")
_NEGATIVE = re.compile(rf"{_EYES}{_NOSE}[(\[]+(?!\w)|{_EYES}'-?\(+(?!\w)|(?<!\w)\):(?!\w)")
_SPACES = re.compile(r"\s+")


def emoticon_label(text: str) -> str | None:
    """`positive` or `negative`, as all emoticons of the text agree; None without any, `mixed` if they contradict."""
    positive, negative = _POSITIVE.search(text), _NEGATIVE.search(text)
    if positive and negative:
        return "mixed"
    return "positive" if positive else "negative" if negative else None


def without_emoticons(text: str) -> str:
    """The text without the emoticons by which `emoticon_label` labels."""
    return _SPACES.sub(" ", _NEGATIVE.sub(" ", _POSITIVE.sub(" ", text))).strip()


@dataclass(frozen=True)
class LabelNoise:
    """How often labels by emoticon differ from those of people, on labelled tweets with emoticons of one kind."""

    tweets: int
    wrong: int

    @classmethod
    def measure(cls, labelled: Iterable[tuple[str | None, str | None]]) -> Self:
        """Compare the labels of (text, label) pairs with those by emoticon."""
        tweets = wrong = 0
        for text, label in labelled:
            if text and label and (given := emoticon_label(text)) not in (None, "mixed"):
                tweets += 1
                wrong += given != label
        return cls(tweets, wrong)

    def in_words(self) -> str:
        """The share with its 95 % interval (Wilson)."""
        if not self.tweets:
            return "the noise of labels by emoticon is not known, since no labelled tweet has an emoticon"
        low, high = binomtest(self.wrong, self.tweets).proportion_ci(method="wilson")
        return (
            f"{self.wrong / self.tweets:.1%} of the labels by emoticon are wrong ({low:.1%} to {high:.1%}, measured on "
            f"{self.tweets:,} labelled tweets with emoticons)"
        )
