"""Which column of a file is what, and what its labels mean."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from polarity.errors import DataRejected

TEXT_NAMES = (
    "text",
    "tweet",
    "content",
    "tweettext",
    "message",
    "full_text",
    "tweet_text",
    "sentimenttext",
    "clean_text",
    "cleaned_text",
    "sentence",
    "review",
    "comment",
    "body",
)
LABEL_NAMES = (
    "label",
    "sentiment",
    "target",
    "polarity",
    "class",
    "airline_sentiment",
    "category",
    "labels",
    "rating",
    "stars",
)
SENTIMENT140 = ("label", "id", "date", "query", "user", "text")

# The plain names, in the spellings that published sets use, in English, French, Spanish, German, Portuguese, Italian.
_SPELLINGS = {
    "negative": (
        "negative neg -ve bad négatif négative negatif negativo negativa neg. negativ negativer schlecht "
        "extremely_negative extremely-negative very_negative very-negative"
    ),
    "neutral": "neutral neu neut neutre neutro neutra neutrale neu.",
    "positive": (
        "positive pos +ve good positif positivo positiva pos. positiv positiver gut "
        "extremely_positive extremely-positive very_positive very-positive"
    ),
}
PLAIN_LABELS = {spelling: label for label, spellings in _SPELLINGS.items() for spelling in spellings.split()} | {
    f"{degree} {label}": label for degree in ("very", "extremely") for label in ("negative", "positive")
}

SENTIMENT140_CODES: Mapping[str, str] = {"0": "negative", "2": "neutral", "4": "positive"}
# What the numbers of a column mean, by the set that they come from.
CODES: Mapping[str, Mapping[str, str]] = {
    "0/4 or 0/2/4 (Sentiment140)": SENTIMENT140_CODES,
    "0/1": {"0": "negative", "1": "positive"},
    "0/1/2": {"0": "negative", "1": "neutral", "2": "positive"},
    "-1/1 or -1/0/1": {"-1": "negative", "0": "neutral", "1": "positive"},
    "1/2": {"1": "negative", "2": "positive"},
    "1 to 5 stars": {"1": "negative", "2": "negative", "3": "neutral", "4": "positive", "5": "positive"},
}
# The values that settle a reading although they also fit a part of another one.
_SETTLED = {
    frozenset("04"): "0/4 or 0/2/4 (Sentiment140)",
    frozenset("024"): "0/4 or 0/2/4 (Sentiment140)",
    frozenset("01"): "0/1",
    frozenset("012"): "0/1/2",
    frozenset(("-1", "1")): "-1/1 or -1/0/1",
    frozenset(("-1", "0", "1")): "-1/1 or -1/0/1",
    frozenset("12345"): "1 to 5 stars",
}
# A code that is rarer among the numbers of the column is a slip, not part of the set.
_RARE = 0.005

_WHOLE = re.compile(r"([+-]?)0*(\d+)(?:[.,]0*)?")


def find_column(columns: Sequence[str], wanted: str | None, usual: Sequence[str], *, role: str, source: str) -> str:
    """The column that plays `role`: the one named in the configuration, else the first of the usual names.

    Raises
    ------
    DataRejected
        If there is none; the message lists the columns that the file has.
    """
    if wanted is not None:
        if wanted in columns:
            return wanted
        near = get_close_matches(wanted, columns, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataRejected(f"{source}: there is no column {wanted!r} for the {role}; it has {_listed(columns)}.{hint}")
    by_lower = {column.strip().lower(): column for column in reversed(columns)}
    for name in usual:
        if name in by_lower:
            return by_lower[name]
    raise DataRejected(
        f"{source}: no {role} column found; it has {_listed(columns)}, and one of {_listed(usual)} was expected. "
        f"Name it with --data.{role}_column; if the first line is a record and not a header, say --data.header none."
    )


def label_mapping(
    configured: Mapping[str, str] | None, labels: Sequence[str], counts: Mapping[str | None, int], *, source: str
) -> dict[str, str]:
    """From a label as the file spells it (see `spelled`) to one of `labels`, judged by all values and their counts.

    A label of the class set always means itself. Numbers are read only as part of a whole that they fit: 0/4 and
    0/2/4, 0/1, -1/0/1, 0/1/2, 1/2 and 1 to 5 stars are told apart by the values that the column has.

    Raises
    ------
    DataRejected
        If two readings of the numbers fit; the message says both, and the option for each.
    """
    mapping = {spelled(label): label for label in labels}
    if configured is not None:
        return mapping | {spelled(spelling): meaning for spelling, meaning in configured.items()}
    mapping = PLAIN_LABELS | mapping
    codes: Counter[str] = Counter()
    for value, count in counts.items():
        code = spelled(value)
        if _is_code(code) and code not in mapping:
            codes[code] += count
    usual = frozenset(code for code, count in codes.items() if count >= _RARE * sum(codes.values()))
    if usual and any(label in _SPELLINGS for label in labels):
        mapping |= _reading(usual, source)
    return mapping


def spelled(label: str | None) -> str:
    """The spelling of a label to compare: lower case, without white space around, whole numbers without a fraction."""
    plain = " ".join((label or "").split()).lower()
    whole = _WHOLE.fullmatch(plain)
    if whole:
        sign, digits = whole.groups()
        return f"-{digits}" if sign == "-" and digits.strip("0") else digits
    return {"true": "1", "false": "0"}.get(plain, plain)


def _is_code(label: str) -> bool:
    return label.removeprefix("-").isdigit()


def _reading(codes: frozenset[str], source: str) -> Mapping[str, str]:
    """What a set of numbers means; nothing if no known set holds them all."""
    if codes in _SETTLED:
        return CODES[_SETTLED[codes]]
    fitting = {name: meanings for name, meanings in CODES.items() if codes <= meanings.keys()}
    ordered = sorted(codes)
    readings: dict[tuple[str, ...], str] = {}
    for name, meanings in fitting.items():
        readings.setdefault(tuple(meanings[code] for code in ordered), name)
    if len(readings) > 1:
        options = "; ".join(
            f"as {name}: --data.label_map '{json.dumps(dict(zip(ordered, reading, strict=True)))}'"
            for reading, name in readings.items()
        )
        raise DataRejected(
            f"{source}: the labels are {', '.join(ordered)}, which can be read in more than one way. Say which is "
            f"right: {options}."
        )
    return next(iter(fitting.values()), {})


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
