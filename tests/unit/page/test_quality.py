"""Kinds of texts and groups of people are recognised, and shares have honest intervals."""

from __future__ import annotations

from typing import Any

import pytest
from scipy.stats import binomtest

from page.quality import SLICES, identity_terms, interval, mentions_group
from page.topics import characteristic, hashtags, words


def answer(text: str, **described: Any) -> dict[str, Any]:
    plain = {"characters": 60, "unknown_share": 0.0, "emoji": 0, "links": 0, "mentions": 0, "hashtags": 0}
    return {"text": text, "script": "latin", **plain, **described}


@pytest.mark.parametrize(
    ("given", "slices"),
    [
        (answer("a day"), set()),
        (answer("c u l8r"), {"abbreviated"}),
        (answer("sooooo good"), {"abbreviated"}),
        (answer("x", characters=10, unknown_share=0.5), {"short", "misspelt"}),
        (answer("x", characters=200, emoji=2, links=1), {"long", "emoji", "links"}),
        (answer("x", mentions=1, hashtags=1, script="arabic"), {"mentions", "hashtags", "other_script"}),
        (answer("x", unknown_share=None, script=None), set()),
    ],
)
def test_a_text_belongs_to_its_slices(given: dict[str, Any], slices: set[str]) -> None:
    assert {name for name, belongs in SLICES.items() if belongs(given)} == slices


def test_groups_are_found_as_words_not_as_parts_of_words() -> None:
    assert mentions_group(answer("The Women's race"), "women") or mentions_group(answer("the women race"), "women")
    assert not mentions_group(answer("a moment"), "men")
    assert set(identity_terms()) >= {"women", "religion", "origin"}
    assert not mentions_group(answer("x") | {"text": None}, "women")


def test_the_interval_is_wilsons() -> None:
    found = binomtest(8, 10).proportion_ci(method="wilson")
    assert interval(8, 10) == pytest.approx((found.low, found.high), abs=1e-6)


def test_words_are_characteristic_of_the_group_that_has_more_of_them() -> None:
    bad = ["the train was late again", "late and cold", "so late"] * 5
    good = ["the train was lovely", "warm and lovely", "so lovely"] * 5
    found = characteristic(words(bad), words(bad + good), 3)
    assert found[0][0] == "late"
    assert "lovely" not in [word for word, *_ in found]
    assert hashtags(["#Go #go", "#go http://a.b/#no"])["#go"] == 2
