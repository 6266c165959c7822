"""Which column of a file is what, and what its labels mean."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from polarity.errors import DataRejected

TEXT_NAMES = ("text", "tweet", "content", "tweettext", "message")
LABEL_NAMES = ("label", "sentiment", "target", "polarity", "class")
SENTIMENT140 = ("label", "id", "date", "query", "user", "text")

# Sentiment140's codes, and the plain names in the spellings that published sets use.
PLAIN_LABELS = {
    "0": "negative",
    "2": "neutral",
    "4": "positive",
    "negative": "negative",
    "neg": "negative",
    "neutral": "neutral",
    "neu": "neutral",
    "positive": "positive",
    "pos": "positive",
}


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
        f"Name it with --data.{role}_column."
    )


def label_mapping(configured: dict[str, str] | None, labels: Sequence[str]) -> dict[str, str]:
    """From a label as the file spells it (compared in lower case, without white space) to one of `labels`.

    A label of the class set always means itself.
    """
    mapping = {label.strip().lower(): label for label in labels}
    if configured is None:
        mapping |= {spelt: meant for spelt, meant in PLAIN_LABELS.items() if meant in labels}
    else:
        mapping |= {spelt.strip().lower(): meant for spelt, meant in configured.items()}
    return mapping


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
