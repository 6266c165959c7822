"""Counts of scored tweets by sentiment, day and hashtag, which can be summed over shards."""

from __future__ import annotations

import calendar
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from polarity.text.segmentation import HASHTAG

Counts = Mapping[str, int]

_HASHTAG = re.compile(rf"(?<![\w/&]){HASHTAG}")
_ISO_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?!\d)")
_TWITTER_DATE = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d{2}) [\d:]{8} (?:[A-Z]{1,5}|[+-]\d{4}) (\d{4})$")
# Ten digits are seconds since 1970, three more milliseconds, and three more microseconds.
_EPOCH = re.compile(r"(\d{10}|\d{13}|\d{16})(?:\.\d*)?")
_FIRST_TWEET = 1_142_899_814
OTHER_DATES = "other dates"
_MONTHS = {name: f"{number:02d}" for number, name in enumerate(calendar.month_abbr) if name}


@dataclass(frozen=True)
class Tally:
    """Number of tweets by sentiment.

    Attributes
    ----------
    rows : int
        All rows, scored or not.
    sentiments : mapping
        Sentiment to rows.
    unscored : mapping
        Reason to rows.
    days : mapping
        Day (ISO) to sentiment to rows.
    hashtags : mapping
        Hashtag, in lower case and without `#`, to sentiment to rows.
    undated : mapping
        Scored rows of a file with dates that count for no day: the date as written (empty if it is missing) to rows.
        Of each shard the most frequent ones; the others are counted under `OTHER_DATES`.
    """

    rows: int = 0
    sentiments: Counts = field(default_factory=Counter)
    unscored: Counts = field(default_factory=Counter)
    days: Mapping[str, Counts] = field(default_factory=dict)
    hashtags: Mapping[str, Counts] = field(default_factory=dict)
    undated: Counts = field(default_factory=Counter)

    @classmethod
    def of(
        cls,
        texts: Iterable[str | None],
        sentiments: Iterable[str | None],
        reasons: Iterable[str | None],
        dates: Iterable[str | None] | None = None,
    ) -> Tally:
        """Count the rows of one shard."""
        found: Counter[str] = Counter()
        unscored: Counter[str] = Counter()
        days: dict[str, Counter[str]] = {}
        hashtags: dict[str, Counter[str]] = {}
        undated: Counter[str] = Counter()
        texts, sentiments = list(texts), list(sentiments)
        for text, sentiment, reason in zip(texts, sentiments, reasons, strict=True):
            if sentiment is None or text is None:
                unscored[reason or "unknown"] += 1
                continue
            found[sentiment] += 1
            if "#" in text:
                for tag in {tag[1:].lower() for tag in _HASHTAG.findall(text)}:
                    hashtags.setdefault(tag, Counter())[sentiment] += 1
        if dates is not None:
            for date, sentiment in zip(dates, sentiments, strict=True):
                if sentiment is None:
                    continue
                if day := day_of(date):
                    days.setdefault(day, Counter())[sentiment] += 1
                else:
                    undated[(date or "").strip()[:40]] += 1
        return cls(len(texts), found, unscored, days, hashtags, _most_frequent(undated))

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.rows + other.rows,
            _sum(self.sentiments, other.sentiments),
            _sum(self.unscored, other.unscored),
            _sums(self.days, other.days),
            _sums(self.hashtags, other.hashtags),
            _sum(self.undated, other.undated),
        )

    def to_json(self) -> str:
        return json.dumps(vars(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, written: str | bytes) -> Tally:
        return cls(**json.loads(written))


def day_of(date: str | None) -> str | None:
    """The day of `date` as written; no time zone is applied.

    Parameters
    ----------
    date : str or None
        ISO 8601, Twitter's format, seconds, milliseconds or microseconds since 1970 (in UTC), or anything else that
        pandas can parse, where it is installed.

    Examples
    --------
    >>> day_of("Mon Apr 06 22:19:45 PDT 2009")
    '2009-04-06'
    """
    if not date:
        return None
    if iso := _ISO_DAY.match(date):
        return iso[1]
    if (tweeted := _TWITTER_DATE.match(date)) and tweeted[1] in _MONTHS:
        return f"{tweeted[3]}-{_MONTHS[tweeted[1]]}-{tweeted[2]}"
    if epoch := _EPOCH.fullmatch(date.strip()):
        seconds = float(epoch[1]) / 1000 ** (len(epoch[1]) // 3 - 3)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}" if seconds >= _FIRST_TWEET else None
    return _parsed(date)


@lru_cache(maxsize=2**16)
def _parsed(date: str) -> str | None:
    try:
        import pandas as pd
    except ModuleNotFoundError:  # the light package does without
        return None
    moment = pd.to_datetime(date, errors="coerce")
    return None if pd.isna(moment) else f"{moment:%Y-%m-%d}"


def _most_frequent(counts: Counter[str], most: int = 5) -> Counter[str]:
    kept = Counter(dict(counts.most_common(most)))
    if others := counts.total() - kept.total():
        kept[OTHER_DATES] += others
    return kept


def _sum(one: Counts, other: Counts) -> Counts:
    return Counter(one) + Counter(other)


def _sums(one: Mapping[str, Counts], other: Mapping[str, Counts]) -> dict[str, Counts]:
    # only the counts in `other` are summed, so that adding up hundreds of shards stays fast
    return {**one, **{name: _sum(one.get(name, {}), counts) for name, counts in other.items()}}
