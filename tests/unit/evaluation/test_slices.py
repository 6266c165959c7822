"""Assignment of tweets to slices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from polarity.evaluation.predictions import Predictions
from polarity.evaluation.slices import slice_metrics, slice_values


def of(text: str) -> dict[str, str | None]:
    return {name: values[0] for name, values in slice_values(pd.DataFrame({"text": [text]})).items()}


@pytest.mark.parametrize(
    ("text", "slices"),
    [
        ("@maya thanks", {"mention"}),
        ("mail me@home now", set()),
        ("so #happy", {"hashtag"}),
        ("we are #1", set()),
        ("see http://t.example/ASK?x=1", {"link"}),
        ("see www.example.net", {"link"}),
        ("what a day 🎉", {"emoji"}),
        ("what a day :-)", {"emoji"}),
        ("love it <3", {"emoji"}),
        ("the ratio is 3:1", set()),
        ("it isn't good", {"negation"}),
        ("it isn’t good", {"negation"}),
        ("i cant go", {"negation"}),
        ("I want a notebook", set()),
        ("never again", {"negation"}),
        ("sooo good", {"elongation"}),
        ("too good", set()),
        ("really?", {"question"}),
        ("this is AWFUL", {"all_capitals"}),
        ("I am OK", set()),
        ("@LOUD hello", {"mention"}),
    ],
)
def test_features_of_a_text(text: str, slices: set[str]) -> None:
    found = {name for name, value in of(text).items() if value == "yes"}
    assert found == slices


@pytest.mark.parametrize(
    ("words", "length"),
    [(0, "1-5 words"), (5, "1-5 words"), (6, "6-10 words"), (20, "11-20 words"), (21, "21+ words")],
)
def test_length_in_words(words: int, length: str) -> None:
    assert of("go " * words)["length"] == length


def test_few_weeks_are_sliced_by_week_and_many_by_month() -> None:
    few = pd.DataFrame({"text": "x", "date": ["Mon Apr 06 22:19:45 PDT 2009", "2009-05-02T10:00:00+00:00", "soon"]})
    assert slice_values(few)["week"] == ["2009-W15", "2009-W18", None]
    many = pd.DataFrame({"text": "x", "date": pd.date_range("2009-01-01", periods=30, freq="7D")})
    values = slice_values(many)
    assert "week" not in values
    assert values["month"][0] == "2009-01"


def test_a_single_day_and_unreadable_dates_give_no_slice() -> None:
    for dates in (["2009-05-02"] * 2, ["soon", "later"]):
        assert not {"week", "month"} & slice_values(pd.DataFrame({"text": ["a", "b"], "date": dates})).keys()


def test_columns_with_few_values_are_slices_and_others_are_not() -> None:
    frame = pd.DataFrame(
        {"text": ["a"] * 40, "key": ["k", "l"] * 20, "block": ["head", "tail"] * 20, "number": range(40), "one": "same"}
    )
    frame.loc[0, "block"] = None
    values = slice_values(frame)
    assert values["block"][:2] == [None, "tail"]
    assert not {"key", "number", "one"} & values.keys()


def test_each_slice_is_measured_on_its_own_rows() -> None:
    texts = ["not good", "good"] * 30 + ["a " * 30] * 3
    labels = np.array([0, 1] * 30 + [0] * 3)
    answered = np.array([1, 1] * 30 + [0] * 3)  # every negated tweet is wrong
    predictions = Predictions(
        labels, np.eye(2, dtype=np.float32)[answered], ("negative", "positive"), pd.DataFrame({"text": texts})
    )
    found = slice_metrics(predictions, seed=0)
    assert found["negation"]["yes"].accuracy == 0
    assert found["negation"]["yes"].rows == 30
    assert found["negation"]["no"].accuracy == 1
    assert list(found["length"]) == ["1-5 words"], "three tweets are too few for a slice"
    assert "yes" not in found["link"]


def test_a_slice_of_repeated_texts_has_wide_intervals() -> None:
    texts = [f"good {n}" for n in range(6)] * 20
    labels, answered = np.arange(120) % 2, np.array([1, 0, 1, 1, 0, 1] * 20)
    widths = []
    for keys in (texts, [f"{n}" for n in range(120)]):
        columns = pd.DataFrame({"text": texts, "key": keys})
        predictions = Predictions(labels, np.eye(2, dtype=np.float32)[answered], ("negative", "positive"), columns)
        low, high = slice_metrics(predictions, seed=0)["length"]["1-5 words"].accuracy_interval
        widths.append(high - low)
    assert widths[0] > 3 * widths[1]


def test_values_are_ordered_by_their_numbers() -> None:
    texts = ["w " * n for n in (30, 15, 8, 2)] * 10
    predictions = Predictions(
        np.zeros(40, int),
        np.tile(np.float32([0.9, 0.1]), (40, 1)),
        ("negative", "positive"),
        pd.DataFrame({"text": texts}),
    )
    assert list(slice_metrics(predictions, seed=0)["length"]) == ["1-5 words", "6-10 words", "11-20 words", "21+ words"]
