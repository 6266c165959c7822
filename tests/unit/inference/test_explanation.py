"""Explanations: exact for additive models, by occlusion for others."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest

from polarity.inference.explanation import MAX_OCCLUSIONS, Explanation, explain

WEIGHTS = {"good": 2.0, "bad": -1.0, "so": 0.25}


class Additive:
    """The log-odds of the second label are the sum of the words' weights, less a half."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    async def predict(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls.append(list(texts))
        odds = [math.exp(sum(WEIGHTS.get(word, 0.0) for word in text.split()) - 0.5) for text in texts]
        return [[1 / (1 + odd), odd / (1 + odd)] for odd in odds]


class Logits:
    async def predict(self, texts: Sequence[str]) -> list[list[float]]:
        (text,) = texts
        weights = [WEIGHTS.get(word, 0.0) for word in text.split()]
        return [[0.25, *(-w / 2 for w in weights), -0.25, *(w / 2 for w in weights)]]


def of(text: str, backend: Additive, explainer: Logits | None = None) -> Explanation:
    return asyncio.run(explain(text, backend.predict, explainer.predict if explainer else None))


@pytest.mark.parametrize("explainer", [None, Logits()])
def test_both_methods_recover_the_weights_of_a_sum(explainer: Logits | None) -> None:
    backend = Additive()
    found = of("so good  &amp; bad", backend, explainer)
    assert found.words == ["so", "good", "&", "bad"], "the words are those of the repaired text"
    assert found.shares == pytest.approx([0.25, 2.0, 0.0, -1.0], abs=1e-5)
    assert found.base == pytest.approx(-0.5, abs=1e-5)
    assert len(backend.calls) == 1, "all versions of the text are sent together"
    answer = found.to_dict(("negative", "positive"))
    assert answer["sentiment"] == "positive" and answer["method"] == ("exact" if explainer else "occlusion")
    assert answer["score"] == answer["probabilities"]["positive"] > 0.5
    assert [item["word"] for item in answer["words"]] == found.words


@pytest.mark.parametrize("explainer", [None, Logits()])
def test_shares_refer_to_the_winning_label(explainer: Logits | None) -> None:
    found = of("bad bad good", Additive(), explainer)
    assert found.to_dict(("negative", "positive"))["sentiment"] == "negative"
    assert found.shares == pytest.approx([1.0, 1.0, -2.0], abs=1e-5)


def test_long_text_is_explained_in_pieces() -> None:
    backend = Additive()
    words = ["x"] * 348 + ["good"] * 2
    found = of(" ".join(words), backend)
    assert len(backend.calls[0]) == MAX_OCCLUSIONS + 2
    assert len(found.shares) == len(words)
    assert sum(found.shares) == pytest.approx(4.0, abs=1e-3)


def test_text_without_words_has_no_shares() -> None:
    found = of("\ufeff", Additive())
    assert found.words == [] or found.shares == pytest.approx([0.0])
