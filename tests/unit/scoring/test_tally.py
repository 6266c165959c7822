from __future__ import annotations

import pytest

from polarity.scoring.tally import Tally, day_of


@pytest.mark.parametrize(
    ("date", "day"),
    [
        ("Mon Apr 06 22:19:45 PDT 2009", "2009-04-06"),
        ("Tue Jun 16 08:38:50 +0000 2009", "2009-06-16"),
        ("2020-02-29T23:59:59-05:00", "2020-02-29"),
        ("2020-02-29", "2020-02-29"),
        ("6 April 2009 10:00", "2009-04-06"),
        ("1239056385", "2009-04-06"),
        ("1239056385.0", "2009-04-06"),
        ("1239056385123", "2009-04-06"),
        ("1239056385123456", "2009-04-06"),
        ("0000000001", None),
        ("yesterday-ish", None),
        ("", None),
        (None, None),
    ],
)
def test_the_day_is_read_as_written(date: str | None, day: str | None) -> None:
    assert day_of(date) == day


ROWS = [
    ("so good #Win #win", "positive", None, "2009-04-06"),
    ("so bad #fail http://x.org/#top &#39;", "negative", None, "2009-04-06"),
    ("#1 #2009", "negative", None, "2009-04-07"),
    ("#caf\u00e9 #\u65e5\u672c", "positive", None, "?"),
    (None, None, "no text", "2009-04-06"),
]


def tally(rows: list[tuple[str | None, str | None, str | None, str]]) -> Tally:
    texts, sentiments, reasons, dates = zip(*rows)
    return Tally.of(texts, sentiments, reasons, dates)


def test_hashtags_count_once_per_tweet_whatever_their_case() -> None:
    counted = tally(ROWS)
    assert counted.hashtags == {
        "win": {"positive": 1},
        "fail": {"negative": 1},
        "caf\u00e9": {"positive": 1},
        "\u65e5\u672c": {"positive": 1},
    }
    assert counted.days == {"2009-04-06": {"positive": 1, "negative": 1}, "2009-04-07": {"negative": 1}}
    assert counted.undated == {"?": 1}
    assert (counted.rows, counted.sentiments, counted.unscored) == (5, {"positive": 2, "negative": 2}, {"no text": 1})


def test_dates_that_cannot_be_read_are_counted_and_the_most_frequent_named() -> None:
    rows = [("hm", "positive", None, date) for date in ["soon"] * 3 + [f"day {number}" for number in range(9)]]
    undated = tally(rows).undated
    assert undated["soon"] == 3
    assert sum(undated.values()) == 12
    assert len(undated) == 6


@pytest.mark.parametrize("cut", range(1, 5))
def test_parts_add_up_and_survive_serialisation(cut: int) -> None:
    parts = tally(ROWS[:cut]), tally(ROWS[cut:])
    one, other = (Tally.from_json(part.to_json()) for part in parts)
    assert one + other == other + one == tally(ROWS)
