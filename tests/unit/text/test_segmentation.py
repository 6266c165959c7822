from __future__ import annotations

import sys
import time
from subprocess import run

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarity.text.segmentation import split_words, without_span, word_spans

SCRIPTS = st.text(st.sampled_from("ab 1#_@!:)\u0301\t映画は最高ーグหนังดีมากရမ្ខ𠮷😍\ufe0f"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("so  sad!", ["so", "sad!"]),
        ("最高です😍 映画", ["最高", "です", "😍", "映画"]),
        ("最高ですhttps://t.co/x", ["最高", "です", "https://t.co/x"]),
        ("今日は#日本_大好き", ["今日", "は", "#日本_大好き"]),
        ("ดีมากกกกก", ["ดี", "มากกกกก"]),
        ("𠮷野家は", ["𠮷", "野家", "は"]),
        ("ខ្ញុំស្រលាញ់", ["ខ្ញុំ", "ស្រលាញ់"]),
        ("ကျွန်တော်ချစ်တယ်", ["ကျွန်တော်", "ချစ်", "တယ်"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@given(st.text() | SCRIPTS)
def test_words_hold_everything_but_white_space(text: str) -> None:
    words = split_words(text)
    assert "".join(words) == "".join(text.split())
    assert all(words)
    assert [text[start:stop] for start, stop in word_spans(text)] == words


@given(st.text(st.characters(max_codepoint=0x2FF)))
def test_words_of_spaced_scripts_are_separated_by_white_space(text: str) -> None:
    assert split_words(text) == text.split()


@given(SCRIPTS.map(lambda text: " ".join(text.split())))
def test_a_text_is_left_without_one_word(text: str) -> None:
    words = split_words(text)
    for at, span in enumerate(word_spans(text)):
        rest = without_span(text, *span)
        assert "".join(rest.split()) == "".join(words[:at] + words[at + 1 :])
        assert rest == " ".join(rest.split())


def test_dictionaries_are_loaded_only_for_scripts_that_need_them() -> None:
    code = (
        "import sys\nfrom polarity.text.tokens import tokenize\n"
        "tokenize('C’est génial, это хорошо')\nprint('icu4py' in sys.modules)\n"
        "tokenize('最高')\nprint('icu4py' in sys.modules)"
    )
    assert run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split() == [
        "False",
        "True",
    ]


def test_a_long_text_takes_time_in_proportion_to_its_length() -> None:
    def seconds(text: str) -> float:
        start = time.perf_counter()
        split_words(text)
        return time.perf_counter() - start

    short, long = "最高です" * 1_000, "最高です" * 10_000
    split_words(short)
    assert min(seconds(long) for _ in range(3)) < 100 * min(seconds(short) for _ in range(3))
