"""The input rules: which texts are refused, and in which language."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarity.serving import rules

DIGITS = st.characters(categories=("Nd",))
AROUND = st.text(st.sampled_from(" \t\n+-−.,'’_\u00a0\u2009\u202f\u200b٫٬，．"), max_size=4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\t\r",
        "\u00a0",
        "\u3000",
        "\u200b\u200d",
        "\ufeff",
        "\u200f",
        "\x00",
        "\u2800",
        "\ufe0f",
        "\u3164 ",
    ],
    ids=ascii,
)
def test_invisible_text_is_blank(text: str) -> None:
    refusal = rules.refuse(text)
    assert refusal is not None and (refusal.status, refusal.code) == (400, "blank")
    assert refusal.message("fr") == "Le texte ne peut pas être vide."


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "-1",
        " 42 ",
        "3.14",
        "1,000,000",
        "1 000",
        "1\u202f000,5",
        "+7",
        "−3",
        "１２３",
        "١٢٣",
        "٣٫١٤",
        "१२",
        "½",
        "Ⅷ",
        "1'000",
        "\u200e7",
        "0" * 2000,
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_text_that_is_just_a_number_is_refused(text: str) -> None:
    refusal = rules.refuse(text)
    assert refusal is not None and (refusal.status, refusal.code) == (400, "number")
    assert refusal.message("fr") == "Le texte ne peut pas être un nombre."


@given(
    st.tuples(
        AROUND,
        st.text(DIGITS, min_size=1, max_size=30),
        AROUND,
        st.text(DIGITS, max_size=5),
        AROUND,
    )
)
def test_digits_of_any_script_with_signs_and_separators_are_a_number(
    parts: tuple[str, ...],
) -> None:
    refusal = rules.refuse("".join(parts))
    assert refusal is not None and refusal.code == "number"


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "1st",
        "42 is the answer",
        "...",
        "-",
        "!!!",
        ":)",
        "😀",
        "😀" * 2000,
        "الخدمة سيئة",
        "三",
        "\x00bad",
        "\ud800",
        "#1",
        "10%",
        "x" * 2000,
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_everything_else_is_accepted(text: str) -> None:
    assert rules.refuse(text) is None


@given(
    st.text(max_size=50),
    st.characters(categories=("Lu", "Ll", "Lo", "So")).filter(lambda c: c != "\u2800"),
    st.text(max_size=50),
)
def test_one_letter_or_symbol_is_enough(before: str, letter: str, after: str) -> None:
    if letter in rules._INVISIBLE:
        return
    assert rules.refuse(before + letter + after) is None


@given(st.text(st.characters(categories=("Zs", "Zl", "Zp", "Cc", "Cf")), max_size=40))
def test_white_space_and_invisible_characters_alone_are_blank(text: str) -> None:
    refusal = rules.refuse(text)
    assert refusal is not None and refusal.code == "blank"


@pytest.mark.parametrize("text", [None, 3, 1.5, True, [], {}, ["a"], b"a"])
def test_only_strings_are_texts(text: object) -> None:
    refusal = rules.refuse(text)
    assert refusal is not None and (refusal.status, refusal.code) == (
        422,
        "string_type",
    )


def test_length_counts_characters_not_bytes() -> None:
    assert rules.refuse("é" * 2000) is None
    refusal = rules.refuse("é" * 2001)
    assert refusal is not None and (refusal.status, refusal.code) == (
        422,
        "string_too_long",
    )


@given(st.text(max_size=2100))
def test_rules_never_raise(text: str) -> None:
    refusal = rules.refuse(text)
    assert refusal is None or refusal.message("en")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "fr"),
        ("", "fr"),
        ("en", "en"),
        ("en-GB,en;q=0.9", "en"),
        ("fr,en;q=0.8", "fr"),
        ("fr-CA, en;q=0.5", "fr"),
        ("fr-CA;q=0.3, en-GB;q=0.5", "en"),
        ("en, fr", "fr"),
        ("en;q=0.4, *;q=0.5", "fr"),
        ("en;q=0.5,fr;q=0.9", "fr"),
        ("de,en;q=0.7,fr;q=0.3", "en"),
        ("de", "fr"),
        ("*", "fr"),
        ("en;q=0", "fr"),
        ("en;q=x", "fr"),
        (";;;,,,=", "fr"),
        ("EN", "en"),
    ],
)
def test_french_unless_english_is_preferred(header: str | None, language: str) -> None:
    assert rules.language_of(header) == language


def test_every_message_exists_in_both_languages() -> None:
    for words in rules._MESSAGES.values():
        assert words["fr"] and words["en"] and words["fr"] != words["en"]
        assert unicodedata.is_normalized("NFC", words["fr"])
