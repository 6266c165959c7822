"""What people read is there in both languages, with the same gaps, and every text that a screen asks for exists."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from page import wording
from page.wording import LANGUAGES, Wording, closest_language, plain, texts

PAGE = Path(wording.__file__).parent


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("name", texts())
def test_a_text_has_both_languages_and_the_same_gaps(name: str) -> None:
    assert set(texts()[name]) == set(LANGUAGES)
    english, french = texts()[name]["en"], texts()[name]["fr"]
    assert english.strip() and french.strip()
    assert gaps(english) == gaps(french)


def test_every_text_that_a_screen_asks_for_exists_and_none_is_left_over() -> None:
    code = "\n".join(path.read_text() for path in PAGE.glob("*.py"))
    asked = set(re.findall(r"""["']([a-z]+\.[a-z_0-9]+)["']""", code)) - {"labels.csv"}
    known = set(texts())
    assert {name for name in asked if name.split(".")[0] in {n.split(".")[0] for n in known}} <= known
    made = ("screens.", "languages.", "labels.", "slices.", "groups.", "verdict.", "label.purpose_", "runs.link_")
    ranges = {f"watch.{name}" for name in ("hour", "day", "week", "month")}
    ranges |= {f"errors.{name}" for name in ("week", "month", "quarter")} | {"ask.one", "ask.many"}
    assert {name for name in known if name not in asked | ranges and not name.startswith(made)} == set()


def test_numbers_and_shares_are_written_as_in_the_language() -> None:
    assert Wording("en").number(1234567) == "1,234,567"
    assert Wording("fr").number(1234.5, 1) == "1\u202f234,5"
    assert Wording("fr").percent(0.125, 1) == "12,5\u202f%"


@pytest.mark.parametrize(
    ("lead", "words"),
    [(0.98, "Almost certainly positive"), (0.85, "Probably positive"), (0.65, "Rather positive"), (0.55, "Not sure")],
)
def test_an_answer_is_as_firm_as_its_probability(lead: float, words: str) -> None:
    assert Wording("en").verdict({"negative": 1 - lead, "positive": lead}).startswith(words)


def test_the_language_follows_the_browser() -> None:
    assert [closest_language(one) for one in ("fr-CA", "FR", "de", None)] == ["fr", "fr", "en", "en"]


def test_text_of_others_is_not_taken_for_markup() -> None:
    assert plain("[a](http://b) *c* :red[d]") == r"\[a\]\(http\://b\) \*c\* \:red\[d\]"
