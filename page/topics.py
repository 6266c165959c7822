"""Hashtags and words of classified texts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

_HASHTAG = re.compile(r"#\w{2,}")
# Words of at least three letters; user names, links and hashtags are no topics.
_NO_TOPIC = re.compile(r"https?://\S+|www\.\S+|[@#]\w+")
_WORD = re.compile(r"[^\W\d_]{3,}(?:['’][^\W\d_]+)?")
_PRIOR_WORDS = 500.0
_MIN_TEXTS = 3


def hashtags(texts: Iterable[str]) -> Counter[str]:
    """In how many texts each hashtag is."""
    return Counter(tag for text in texts for tag in {tag.lower() for tag in _HASHTAG.findall(text)})


def words(texts: Iterable[str]) -> Counter[str]:
    """In how many texts each word is."""
    return Counter(
        word for text in texts for word in {word.lower() for word in _WORD.findall(_NO_TOPIC.sub(" ", text))}
    )


def characteristic(of_group: Counter[str], of_all: Counter[str], count: int) -> list[tuple[str, int, float]]:
    """The words that a group of texts has more often than the others, the clearest first.

    By the log-odds ratio with an informative Dirichlet prior in standard errors, which ranks rare words below
    frequent ones with the same ratio (Monroe, Colaresi and Quinn 2008, Fightin' Words, section 3.3).

    Parameters
    ----------
    of_group, of_all : Counter
        Number of texts with each word, in the group and in all texts, the group among them.
    count : int
        How many words at most.

    Returns
    -------
    list of (str, int, float)
        Word, number of the group's texts with it, and log-odds ratio in standard errors.
    """
    total_all = sum(of_all.values())
    total = sum(of_group.values())
    rest = total_all - total
    if not total or not rest:
        return [(word, number, 0.0) for word, number in of_group.most_common(count)]
    found = []
    for word, number in of_group.items():
        if number < _MIN_TEXTS:
            continue
        prior = _PRIOR_WORDS * of_all[word] / total_all
        others = of_all[word] - number
        ratio = math.log((number + prior) / (total + _PRIOR_WORDS - number - prior))
        ratio -= math.log((others + prior) / (rest + _PRIOR_WORDS - others - prior))
        found.append((word, number, ratio / math.sqrt(1 / (number + prior) + 1 / (others + prior))))
    return sorted((item for item in found if item[2] > 0), key=lambda item: -item[2])[:count]
