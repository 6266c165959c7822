from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from polarity.text.ngrams import character_ngrams, word_ngrams
from polarity.text.segmentation import split_words


@given(st.text())
def test_character_ngrams_match_scikit_learn(text: str) -> None:
    theirs = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).build_analyzer()(" ".join(split_words(text)))
    # scikit-learn returns a word that is shorter than an n-gram twice
    assert set(character_ngrams(text, shortest=2, longest=4)) == set(theirs)


@pytest.mark.parametrize(
    ("text", "sizes", "grams"),
    [
        ("Good day!", (1, 1), ["good", "day", "!"]),
        ("good day", (1, 2), ["good", "day", "^ good", "good day", "day $"]),
        ("good day", (2, 3), ["^ good", "good day", "day $", "^ good day", "good day $"]),
        ("not bad", (1, 1), ["not", "bad", "not_bad"]),
        ("don't care, nice", (1, 1), ["do", "n't", "care", ",", "nice", "not_care"]),
        ("no a b c d e", (1, 1), ["no", "a", "b", "c", "d", "e", "not_a", "not_b", "not_c", "not_d"]),
        ("", (1, 1), []),
        ("", (1, 2), ["^ $"]),
    ],
)
def test_word_ngrams(text: str, sizes: tuple[int, int], grams: list[str]) -> None:
    assert word_ngrams(text, shortest=sizes[0], longest=sizes[1]) == grams
