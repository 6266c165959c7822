"""The word cache: bounded by bytes whatever the words are, and words in use stay in it."""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable

import pytest

from polarity.inference.tfidf import NgramBlock, TfidfModel
from polarity.text.tokens import tokenize
from polarity.text.word_cache import CACHED_CHARACTERS, WordCache

KIB = 1024


@pytest.fixture
def computed() -> Counter[str]:
    return Counter()


@pytest.fixture
def cache(computed: Counter[str]) -> WordCache[str]:
    def upper(word: str) -> str:
        computed[word] += 1
        return word.upper()

    return WordCache(upper, sys.getsizeof, max_bytes=100_000)


def test_a_word_is_computed_once(cache: WordCache[str], computed: Counter[str]) -> None:
    assert [cache["good"] for _ in range(3)] == ["GOOD"] * 3
    assert computed == {"good": 1}


def test_long_words_are_not_kept(cache: WordCache[str]) -> None:
    long = "x" * (CACHED_CHARACTERS + 1)
    assert cache[long] == long.upper()
    assert not cache and not cache.used_bytes


def test_memory_is_bounded(cache: WordCache[str]) -> None:
    for number in range(20_000):
        cache[f"word{number}"]
        assert cache.used_bytes <= 50_000
    kept = [*cache.items(), *cache._older.items()]
    assert len(kept) > 100 and sum(sys.getsizeof(word) + sys.getsizeof(value) for word, value in kept) < 100_000


def test_a_word_in_use_stays_while_others_come_and_go(cache: WordCache[str], computed: Counter[str]) -> None:
    for number in range(20_000):
        cache[f"word{number}"]
        cache["good"]
    assert computed["good"] == 1


def scorer() -> Callable[[str], object]:
    import numpy as np

    block = NgramBlock("characters", 1, 3, [*"abcdefghijklmnopqrstuvwxyz"])
    ones = np.ones(26, dtype=np.float32)
    model = TfidfModel([block], idf=ones, coefficients=ones[np.newaxis], intercepts=np.zeros(1, np.float32))
    return lambda text: model.logits([text])


@pytest.fixture(params=[scorer, lambda: tokenize], ids=["n-grams", "tokens"])
def read(request: pytest.FixtureRequest) -> Callable[[str], object]:
    return request.param()


def test_unique_long_words_leave_nothing_behind(read: Callable[[str], object]) -> None:
    tracemalloc.start()
    try:
        read("warm")
        before = tracemalloc.get_traced_memory()[0]
        for number in range(100):
            read(f"{number}" + "abcdefghij" * 190)
        assert tracemalloc.get_traced_memory()[0] - before < 128 * KIB
    finally:
        tracemalloc.stop()
