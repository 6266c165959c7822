"""What distinguishes texts: how they are written, and whom they mention."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

MIN_TEXTS = 30
"""Fewer texts than this say too little about a slice."""
_TERMS = Path(__file__).with_name("identity_terms.yaml")
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_ABBREVIATIONS = re.compile(
    r"\b(?:u|ur|r|n|b4|gr8|l8r|lol|lmao|rofl|omg|omfg|wtf|idk|imo|imho|btw|brb|thx|tx|pls|plz|ppl|smh|tbh|fml|ily|bf|gf"
    r"|mdr|ptdr|jpp|svp|stp|bjr|slt|tkt|pk|pcq|dsl)\b"
)
_STRETCHED = re.compile(r"([^\W\d_])\1{2,}")

Answer = dict[str, Any]
_Z = 1.959964


def has_abbreviations(answer: Answer) -> bool:
    """Whether the text has abbreviations of chats, or stretched words."""
    text = (answer["text"] or "").lower()
    return bool(_STRETCHED.search(text) or _ABBREVIATIONS.search(text))


SLICES: dict[str, Callable[[Answer], bool]] = {
    "short": lambda answer: bool(answer["characters"] < 40),
    "long": lambda answer: bool(answer["characters"] > 120),
    "misspelt": lambda answer: (answer["unknown_share"] or 0) >= 0.2,
    "abbreviated": has_abbreviations,
    "emoji": lambda answer: bool(answer["emoji"]),
    "links": lambda answer: bool(answer["links"]),
    "mentions": lambda answer: bool(answer["mentions"]),
    "hashtags": lambda answer: bool(answer["hashtags"]),
    "other_script": lambda answer: answer["script"] not in (None, "latin"),
}
"""By name, which labelled answers belong to a slice; they overlap."""


@cache
def identity_terms() -> dict[str, frozenset[str]]:
    """The words for each group of people."""
    return {group: frozenset(terms) for group, terms in yaml.safe_load(_TERMS.read_text(encoding="utf-8")).items()}


def mentions_group(answer: Answer, group: str) -> bool:
    """Whether a text has one of the words for a group of people."""
    terms = identity_terms()[group]
    return any(word in terms for word in _WORD.findall((answer["text"] or "").lower()))


def interval(right: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    Examples
    --------
    >>> [round(bound, 3) for bound in interval(8, 10)]
    [0.49, 0.943]
    """
    share, square = right / of, _Z**2
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = _Z * math.sqrt(share * (1 - share) / of + square / (4 * of**2)) / (1 + square / of)
    return middle - half, middle + half
