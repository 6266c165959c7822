"""What is counted in a text, what is masked, and which words are known."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarity.record import durations
from polarity.record.descriptors import Descriptors, describe, mask
from polarity.record.labelling import UNIFORM_PART
from polarity.record.migration import check
from polarity.record.review import ReviewDraw
from polarity.text.words import KnownWords, words_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Descriptors(0, 0, None, 0, 0, 0, 0, None)),
        ("@ann see http://t.co/1 and www.x.org #fun!", Descriptors(29, 3, None, 2, 1, 1, 0, "latin")),
        ("me@home.org is no mention", Descriptors(22, 3, None, 0, 0, 0, 0, "latin")),
        ("👨‍👩‍👧 🇫🇷 👍🏽 ❤️", Descriptors(14, 0, None, 0, 0, 0, 4, None)),
        ("すごい映画 great", Descriptors(11, 3, None, 0, 0, 0, 0, "latin")),
        ("すごいすごいすごい ok", Descriptors(12, 4, None, 0, 0, 0, 0, "hiragana")),
        ("الفيلم رائع", Descriptors(11, 2, None, 0, 0, 0, 0, "arabic")),
        ("12 345 !!", Descriptors(9, 0, None, 0, 0, 0, 0, None)),
    ],
    ids=ascii,
)
def test_a_text_is_counted(text: str, expected: Descriptors) -> None:
    assert describe(text) == expected
    assert describe(mask(text)) == expected, "a model that learned from masked texts expects what clients send"


def test_unknown_words_are_those_that_occur_less_than_twice_in_training(tmp_path: Path) -> None:
    KnownWords.of(["Good day", "good night @good", "a day http://night.org"]).write(tmp_path / "words.npy")
    known = KnownWords.read(tmp_path / "words.npy")
    assert [word for word in ("good", "day", "night", "a") if word in known] == ["good", "day"]
    assert describe("good GOOD night evening", known).unknown_share == 0.5
    assert describe("!!", known).unknown_share is None
    KnownWords.of(["a day http://night.org", "good night @good", "Good day"]).write(tmp_path / "again.npy")
    assert (tmp_path / "words.npy").read_bytes() == (tmp_path / "again.npy").read_bytes()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("@Ann_1 and @bob: see https://t.co/Ab1?x=@c now", "@user and @user: see http now"),
        ("write to first.last+x@mail.example.org", "write to @address"),
        ("call +49 (0)30 1234567 or 555-123-4567!", "call 0000000 or 0000000!"),
        ("in 2024, 100 000 people", "in 2024, 100 000 people"),
        ("so good #fun 😀", "so good #fun 😀"),
    ],
)
def test_names_links_addresses_and_long_numbers_are_masked(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert words_of(mask(text)) == words_of(text)
    assert describe(mask(text)) == describe(text)


@given(st.text(), st.from_regex(r"[A-Za-z0-9_]{3,15}", fullmatch=True))
def test_a_masked_text_holds_no_user_name_and_stays_as_it_is(text: str, name: str) -> None:
    masked = mask(f"{text} @{name} {text}")
    assert f" @{name} " not in masked.replace(" @user ", " ").replace(" @address ", " ")
    assert mask(masked) == masked
    describe(masked)


def test_doubtful_answers_are_drawn_more_often_and_the_share_is_as_wanted() -> None:
    chance = random.Random(1)
    draw = ReviewDraw(0.1, chance)
    results = [draw(score) for _ in range(10_000) for score in (0.55, 0.99)]
    drawn = sum(was_drawn for _, was_drawn in results)
    assert drawn / len(results) == pytest.approx(0.1, abs=0.007), "three standard deviations"
    (doubtful, _), (sure, _) = results[-2:]
    assert doubtful > 2 * sure > 2 * UNIFORM_PART * 0.1
    assert ReviewDraw(0.0)(0.5) == (0.0, False)


def test_a_quantile_is_the_upper_edge_of_its_bucket() -> None:
    counts = durations.empty()
    for seconds in [0.001] * 94 + [0.05] * 5 + [1000.0]:
        counts[durations.bucket_of(seconds)] += 1
    assert durations.quantile(counts, 0.5) == pytest.approx(0.001)
    assert durations.quantile(counts, 0.95) == pytest.approx(0.0501, rel=0.01)
    assert durations.quantile(counts, 1.0) == float("inf")
    assert durations.quantile(durations.empty(), 0.95) is None


def test_the_migrations_lead_to_the_declared_schema() -> None:
    check()
