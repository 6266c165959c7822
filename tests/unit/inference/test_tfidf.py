"""TF-IDF without scikit-learn: single texts, batches, and word contributions."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarity.inference.tfidf import NgramBlock, TfidfModel
from polarity.text.cleaning import repair
from polarity.text.ngrams import character_ngrams, word_ngrams, word_ngrams_with_parts
from polarity.text.segmentation import split_words

TEXTS = ["not so good, is it?", "so so so bad :( I don't like it", "", "unseen", "GOOD good\u3000day", "!!! ^ $"]
TWEETS = st.lists(st.sampled_from([*" ".join(TEXTS).split(), "n't", "not", "_", "\x1c", "é"])).map(" ".join)


def parts(shortest: int = 1, longest: int = 2) -> dict[str, Any]:
    known = [*TEXTS[:3], TEXTS[5]]
    words = sorted({gram for text in known for gram in word_ngrams(text, shortest=shortest, longest=longest)})
    characters = sorted({gram for text in TEXTS for gram in character_ngrams(text, shortest=2, longest=4)})
    random = np.random.default_rng(5)
    n_columns = len(words) + len(characters)
    return {
        "blocks": [NgramBlock("words", shortest, longest, words), NgramBlock("characters", 2, 4, characters)],
        "idf": random.uniform(1, 5, n_columns).astype(np.float32),
        "coefficients": random.normal(size=(3, n_columns)).astype(np.float32),
        "intercepts": random.normal(size=3).astype(np.float32),
    }


def model() -> TfidfModel:
    return TfidfModel(**parts())


def logits_of_ngrams(text: str, *, blocks: list[NgramBlock], idf: Any, coefficients: Any, intercepts: Any) -> Any:
    """The logits of one text, from its n-grams as strings."""
    total, start = intercepts.astype(float), 0
    for block in blocks:
        ngrams_of = word_ngrams if block.kind == "words" else character_ngrams
        counts = Counter(ngrams_of(text, shortest=block.shortest, longest=block.longest))
        values = np.array([(1 + math.log(counts[gram])) if counts[gram] else 0.0 for gram in block.ngrams])
        values *= idf[start : start + len(values)]
        total += coefficients[:, start : start + len(values)] @ values / (np.linalg.norm(values) or 1.0)
        start += len(values)
    return total


def test_logits_are_sublinear_tfidf_times_the_weights(tmp_path: Path) -> None:
    block = NgramBlock("words", 1, 1, ["a", "b"])
    one = TfidfModel(
        [block],
        idf=np.array([2.0, 3.0], np.float32),
        coefficients=np.array([[1.0, 0.0], [0.0, 1.0]], np.float32),
        intercepts=np.array([0.5, -0.5], np.float32),
    )
    repeated, single = 2 * (1 + np.log(2)), 3.0
    length = np.hypot(repeated, single)
    expected = [[0.5 + repeated / length, -0.5 + single / length], [0.5, -0.5]]
    np.testing.assert_allclose(one.logits(["a b a", "c"]), expected, rtol=1e-6)
    one.save(tmp_path)
    np.testing.assert_array_equal(TfidfModel.load(tmp_path).logits(["a b a"]), one.logits(["a b a"]))


def test_logits_of_a_text_do_not_depend_on_its_batch() -> None:
    one = model()
    together = one.logits(TEXTS)
    for row, text in enumerate(TEXTS):
        np.testing.assert_allclose(one.logits([text])[0], together[row], atol=1e-6)


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2), (1, 4), (2, 3)])
def test_logits_are_those_of_the_ngrams_of_training(sizes: tuple[int, int]) -> None:
    fitted = parts(*sizes)
    one = TfidfModel(**fitted)

    @given(st.lists(st.one_of(TWEETS, st.text(max_size=40)), min_size=1, max_size=5))
    def check(texts: list[str]) -> None:
        expected = [logits_of_ngrams(text, **fitted) for text in texts]
        np.testing.assert_allclose(one.logits(texts), expected, atol=1e-5)

    check()


@given(st.one_of(TWEETS, st.text(max_size=40)))
def test_shares_sum_to_the_logits(text: str) -> None:
    one, repaired = model(), repair(text)
    shares = one.shares(repaired)
    assert shares.shape == (3, 1 + len(split_words(repaired)))
    np.testing.assert_allclose(shares.sum(axis=1), one.logits([repaired])[0], atol=1e-4)


def test_word_without_known_ngrams_contributes_nothing() -> None:
    shares = model().shares("good 龍龍龍")
    assert np.abs(shares[:, 1]).min() > 0
    # Only the pairs of words that it stands in could count, and none of them is known.
    assert shares[:, 2] == pytest.approx(0)


@given(st.one_of(TWEETS, st.text()))
def test_ngrams_with_parts_are_the_same_ngrams(text: str) -> None:
    for shortest, longest in ((1, 1), (1, 2), (2, 3)):
        placed = word_ngrams_with_parts(text, shortest=shortest, longest=longest)
        assert [gram for gram, _ in placed] == word_ngrams(text, shortest=shortest, longest=longest)
        assert all(0 <= part < len(split_words(text)) for _, parts in placed for part in parts)
