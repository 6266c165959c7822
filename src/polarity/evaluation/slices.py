"""Metrics by slice, such as long tweets, negated tweets or the tweets of one week."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from polarity.evaluation.metrics import Metrics, measure
from polarity.evaluation.predictions import Predictions
from polarity.text.segmentation import HASHTAG, split_words

MIN_ROWS = 10
MAX_VALUES = 12
MAX_WEEKS = 12
LENGTHS = ((5, "1-5 words"), (10, "6-10 words"), (20, "11-20 words"))
LONGEST = "21+ words"

_EMOTICON = r"(?<!\w)(?:[:;=xX]['\-]?[)(DPpOo3/\\|\]\[]|<3|\^_?\^)(?!\w)"
_EMOJI = "[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55]"
_NEGATION = (
    r"\b(?:not|no|never|none|nothing|nobody|nowhere|neither|nor|without|cannot|"
    r"\w+n['\u2019]t|(?:ca|wo|do|does|did|is|was|are|were|have|has|had|could|would|should)nt)\b"
)
PATTERNS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "mention": re.compile(r"(?<!\w)@\w+"),
        "hashtag": re.compile(rf"(?<!\w){HASHTAG}"),
        "link": re.compile(r"https?://\S|www\.\S", re.IGNORECASE),
        "emoji": re.compile(f"{_EMOTICON}|{_EMOJI}"),
        "negation": re.compile(_NEGATION, re.IGNORECASE),
        "elongation": re.compile(r"([^\W\d_])\1\1", re.IGNORECASE),
        "question": re.compile(r"\?"),
        "all_capitals": re.compile(r"(?<![@#\w])[A-Z]{3,}(?!\w)"),
    }
)
_TEXTUAL = frozenset({"text", "key", "id", "date", "user"})
_LINK = re.compile(r"https?://\S+|www\.\S+", re.IGNORECASE)
_ZONE = re.compile(r"\b[A-Z]{3,4} (?=\d{4}$)")


def slice_metrics(
    predictions: Predictions, *, seed: int, resamples: int = 1000, min_rows: int = MIN_ROWS
) -> dict[str, dict[str, Metrics]]:
    """Compute the metrics of each slice.

    Slices are `length` (words), whether the tweet has a mention, a hashtag, a
    link, an emoji or emoticon, a negation, an elongation, a question mark or a
    word in capitals, the `month` or `week` if there is a column `date`, and
    every other column with few distinct values, such as `block`.

    Parameters
    ----------
    predictions : Predictions
        Predictions with the column `text`.
    seed : int
        Seed of the bootstrap.
    resamples : int, default 1000
    min_rows : int, default 10
        Values with fewer tweets are omitted.

    Returns
    -------
    dict
        `{slice: {value: Metrics}}`.
    """
    measured: dict[str, dict[str, Metrics]] = {}
    texts = predictions.groups
    for name, values in slice_values(predictions.columns).items():
        found = np.array(values, dtype=object)
        known = sorted({value for value in values if value is not None}, key=_number_first)
        places = {value: np.flatnonzero(found == value) for value in known}
        of_slice = {
            value: measure(
                predictions.labels[rows],
                predictions.probabilities[rows],
                label_names=predictions.label_names,
                seed=seed,
                resamples=resamples,
                groups=None if texts is None else texts[rows],
            )
            for value, rows in places.items()
            if len(rows) >= min_rows
        }
        if of_slice:
            measured[name] = of_slice
    return measured


def slice_values(columns: pd.DataFrame) -> dict[str, list[str | None]]:
    """Return the value of each slice for each tweet; `None` if a tweet has no value.

    Parameters
    ----------
    columns : DataFrame of n rows
        The column `text` and any others.

    Returns
    -------
    dict
        The n values by slice name.
    """
    texts = [str(text) for text in columns["text"]]
    unlinked = [_LINK.sub("", text) for text in texts]
    values: dict[str, list[str | None]] = {"length": [_length(text) for text in texts]}
    for name, pattern in PATTERNS.items():
        # Characters in a link do not have their usual meaning.
        searched = texts if name == "link" else unlinked
        values[name] = ["yes" if pattern.search(text) else "no" for text in searched]
    if "date" in columns:
        values |= _time(columns["date"])
    for name in columns.columns:
        if name not in _TEXTUAL and 2 <= columns[name].nunique(dropna=True) <= MAX_VALUES:
            values[str(name)] = [None if pd.isna(value) else str(value) for value in columns[name]]
    return values


def _number_first(value: str) -> tuple[int, str]:
    """Sort key that orders `6-10 words` before `11-20 words`."""
    leading = re.match(r"\d+", value)
    return int(leading[0]) if leading else 0, value


def _length(text: str) -> str:
    words = len(split_words(text))
    return next((name for most, name in LENGTHS if words <= most), LONGEST)


def _time(dates: pd.Series[Any]) -> dict[str, list[str | None]]:
    """Return ISO weeks, or months if there are many weeks; nothing if the dates span fewer than two weeks."""
    if not pd.api.types.is_datetime64_any_dtype(dates):
        # Time zone names are ambiguous, and weeks do not need them.
        plain = [None if pd.isna(date) else _ZONE.sub("", str(date)) for date in dates]
        dates = pd.to_datetime(pd.Series(plain, dtype="object"), errors="coerce", format="mixed", utc=True)
    weeks = dates.dt.strftime("%G-W%V")
    if weeks.nunique() < 2:
        return {}
    name, shown = ("week", weeks) if weeks.nunique() <= MAX_WEEKS else ("month", dates.dt.strftime("%Y-%m"))
    return {name: [None if pd.isna(value) else str(value) for value in shown]}
