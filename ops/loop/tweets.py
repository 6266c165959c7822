"""Tweets of two kinds: those that the champion learns from and that its clients send at first, and other ones."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from polarity.data.corpus import BLAME, PRAISE, generate_tweets
from polarity.data.splits import text_keys
from polarity.text.cleaning import repair

Kind = Literal["ordinary", "moved"]
LABELS = ("negative", "positive")

# Words that no tweet of the corpus has, in place of those that carry its moods.
_SLANG = {
    "positive": ["bussin", "goated", "slaps", "drippy", "elite", "based", "valid", "gassed", "hyped", "fire"],
    "negative": ["mid", "cringe", "sus", "cheugy", "salty", "trash", "cooked", "scuffed", "ick", "flop"],
}
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


class Tweet(NamedTuple):
    """A text as a client sends it, and its true label."""

    text: str
    label: str
    kind: Kind


@dataclass(frozen=True)
class Material:
    """The tweets of a run of the loop; no text is in two of the lists.

    Attributes
    ----------
    training : list of Tweet
        What the champion is trained on.
    ordinary : list of Tweet
        Of the same kind.
    moved : list of Tweet
        Of another kind, sent until there is a candidate; some of their labels are learned from.
    tried, last : list of Tweet
        Of the other kind, sent while the candidate is tried and after it has become champion.
    about : str
        What the two kinds are.
    """

    training: list[Tweet]
    ordinary: list[Tweet]
    moved: list[Tweet]
    tried: list[Tweet]
    last: list[Tweet]
    about: str


def real(folder: Path, *, training: int, ordinary: int, last: int) -> Material:
    """Tweets of Sentiment140, then the positive and negative ones of SemEval 2013 to 2016."""
    first = pd.read_csv(folder / "sentiment140_sample.csv.gz", usecols=["label", "text"])
    labels = [LABELS[code == 4] for code in first["label"]]
    # No quoting, and ten texts have a tab inside.
    with gzip.open(folder / "semeval2017_task4a_dev.tsv.gz", "rt", encoding="utf-8", newline="\n") as lines:
        fields = [line.rstrip("\n").split("\t", 3) for line in lines]
    other = [(_unescaped(of[3]), of[2]) for of in fields if len(of) == 4 and of[2] in LABELS]
    about = "Sentiment140, then SemEval 2013 to 2016"
    return _shared_out(list(zip(first["text"], labels)), other, about, training=training, ordinary=ordinary, last=last)


def generated(*, training: int, ordinary: int, moved: int, last: int) -> Material:
    """Tweets of the demo's corpus, then such tweets in another slang."""
    needed = int(1.3 * (training + ordinary))  # some repeat each other, some are broken
    first, second = (_pairs(rows, seed) for rows, seed in ((needed, 11), (int(1.3 * moved), 12)))
    draw = random.Random(13)
    other = [(_in_slang(text, draw), label) for text, label in second]
    about = "generated tweets, then such tweets in another slang"
    return _shared_out(first, other, about, training=training, ordinary=ordinary, last=last)


def _pairs(rows: int, seed: int) -> list[tuple[str, str]]:
    given = generate_tweets(rows=rows, labels=LABELS, seed=seed).to_pylist()
    return [(row["text"], row["label"]) for row in given if row["text"] and row["label"] in LABELS]


def _in_slang(text: str, draw: random.Random) -> str:
    for mood, words in (("positive", PRAISE), ("negative", BLAME)):
        for word in [word for part in words[:3] for word in part.split()]:
            text = re.sub(rf"\b{word}\b", draw.choice(_SLANG[mood]), text, flags=re.IGNORECASE)
    return text


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text).strip('" ')


def _shared_out(
    first: Sequence[tuple[str, str]],
    other: Sequence[tuple[str, str]],
    about: str,
    *,
    training: int,
    ordinary: int,
    last: int,
) -> Material:
    ours, theirs = _distinct(first, "ordinary", set()), []
    theirs = _distinct(other, "moved", set(text_keys([tweet.text for tweet in ours])))
    before = (len(theirs) - last) // 2
    return Material(
        ours[:training],
        ours[training : training + ordinary],
        theirs[:before],
        theirs[before:-last],
        theirs[-last:],
        about,
    )


def _distinct(pairs: Sequence[tuple[str, str]], kind: Kind, known: set[str]) -> list[Tweet]:
    """Each text once, repaired as a training does it, in a random order."""
    found: dict[str, Tweet] = {}
    texts = [repair(str(text)) for text, _ in pairs]
    for key, text, (_, label) in zip(text_keys(texts), texts, pairs):
        if key not in known and text.strip() and not text.strip().isnumeric() and len(text) <= 1000:
            found.setdefault(key, Tweet(text, label, kind))
    tweets = list(found.values())
    random.Random(17).shuffle(tweets)
    return tweets
