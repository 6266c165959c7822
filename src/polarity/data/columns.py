"""Find the text and label columns of a file, and map its labels to the class set."""

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

# Spellings in published data sets, in English, French, Spanish, German, Portuguese and Italian.
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
# Meanings of numeric labels, by the scheme that uses them.
CODES: Mapping[str, Mapping[str, str]] = {
    "0/4 or 0/2/4 (Sentiment140)": SENTIMENT140_CODES,
    "0/1": {"0": "negative", "1": "positive"},
    "0/1/2": {"0": "negative", "1": "neutral", "2": "positive"},
    "-1/1 or -1/0/1": {"-1": "negative", "0": "neutral", "1": "positive"},
    "1/2": {"1": "negative", "2": "positive"},
    "1 to 5 stars": {"1": "negative", "2": "negative", "3": "neutral", "4": "positive", "5": "positive"},
}
# Sets of values that identify a scheme although they also fit part of a different one.
_UNAMBIGUOUS = {
    frozenset("04"): "0/4 or 0/2/4 (Sentiment140)",
    frozenset("024"): "0/4 or 0/2/4 (Sentiment140)",
    frozenset("01"): "0/1",
    frozenset("012"): "0/1/2",
    frozenset(("-1", "1")): "-1/1 or -1/0/1",
    frozenset(("-1", "0", "1")): "-1/1 or -1/0/1",
    frozenset("12345"): "1 to 5 stars",
}
# Codes with a smaller share of the column are treated as errors, not as part of the scheme.
_RARE = 0.005

_WHOLE = re.compile(r"([+-]?)0*(\d+)(?:[.,]0*)?")


def find_column(columns: Sequence[str], wanted: str | None, usual: Sequence[str], *, role: str, source: str) -> str:
    """Return the column for `role`: the one named in the configuration, or the first of the usual names.

    Raises
    ------
    DataRejected
        If there is no such column; the message lists the columns of the file.
    """
    if wanted is not None:
        if wanted in columns:
            return wanted
        near = get_close_matches(wanted, columns, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataRejected(
            f"{source}: there is no column {wanted!r} for the {role}; the columns are {_listed(columns)}.{hint}"
        )
    by_lower = {column.strip().lower(): column for column in reversed(columns)}
    for name in usual:
        if name in by_lower:
            return by_lower[name]
    raise DataRejected(
        f"{source}: no {role} column found; the columns are {_listed(columns)}, expected one of {_listed(usual)}. "
        f"Name it with --data.{role}_column, or use --data.header none if the first line is a record, not a header."
    )


def label_mapping(
    configured: Mapping[str, str] | None, labels: Sequence[str], counts: Mapping[str | None, int], *, source: str
) -> dict[str, str]:
    """Map the labels of the file (normalised by `normalise_label`) to `labels`, based on all values and their counts.

    A label of the class set always maps to itself. Numbers are mapped only if together they fit a known scheme: 0/4
    and 0/2/4, 0/1, -1/0/1, 0/1/2, 1/2 and 1 to 5 stars are distinguished by the values in the column.

    Raises
    ------
    DataRejected
        If the numbers fit schemes with different meanings; the message lists the option for each.
    """
    mapping = {normalise_label(label): label for label in labels}
    if configured is not None:
        return mapping | {normalise_label(spelling): meaning for spelling, meaning in configured.items()}
    mapping = PLAIN_LABELS | mapping
    codes: Counter[str] = Counter()
    for value, count in counts.items():
        code = normalise_label(value)
        if _is_code(code) and code not in mapping:
            codes[code] += count
    usual = frozenset(code for code, count in codes.items() if count >= _RARE * sum(codes.values()))
    if usual and any(label in _SPELLINGS for label in labels):
        mapping |= _meanings_of(usual, source)
    return mapping


def normalise_label(label: str | None) -> str:
    """Normalise a label for comparison: lower case, stripped, whole numbers without a fraction."""
    plain = " ".join((label or "").split()).lower()
    whole = _WHOLE.fullmatch(plain)
    if whole:
        sign, digits = whole.groups()
        return f"-{digits}" if sign == "-" and digits.strip("0") else digits
    return {"true": "1", "false": "0"}.get(plain, plain)


def _is_code(label: str) -> bool:
    return label.removeprefix("-").isdigit()


def _meanings_of(codes: frozenset[str], source: str) -> Mapping[str, str]:
    """Return the meanings of a set of numeric labels; empty if no known scheme contains them all."""
    if codes in _UNAMBIGUOUS:
        return CODES[_UNAMBIGUOUS[codes]]
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
            f"{source}: the labels are {', '.join(ordered)}, which can be read in more than one way. Choose one: "
            f"{options}."
        )
    return next(iter(fitting.values()), {})


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
