"""Explanations of a sentiment: the contribution of each word of the text."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any, Literal

from polarity.text.cleaning import repair
from polarity.text.segmentation import without_span, word_spans

RowsForTexts = Callable[[Sequence[str]], Awaitable[list[list[float]]]]
"""Returns one row of numbers per text."""

# Maximum number of occluded versions of a text; in longer texts, neighbouring words are left out together.
MAX_OCCLUSIONS = 100
_MIN_PROBABILITY = 1e-7


@dataclass(frozen=True)
class Explanation:
    """The contribution of each word of a text to the lead of its label.

    Attributes
    ----------
    words : list of str
        The words of the repaired text, as `polarity.text.segmentation` finds them.
    shares : list of float
        The contribution of each word to the lead: the logarithm of the label's probability minus the mean of the
        others' (with two labels, the log-odds).
    base : float
        The lead of the empty text. With exact shares, base and shares sum to the lead.
    """

    probabilities: list[float]
    words: list[str]
    shares: list[float]
    base: float
    method: Literal["exact", "occlusion"]

    def to_dict(self, labels: Sequence[str]) -> dict[str, Any]:
        """The explanation as the HTTP contract returns it."""
        winner = _winner(self.probabilities)
        return {
            "sentiment": labels[winner],
            "score": round(self.probabilities[winner], 6),
            "probabilities": {label: round(p, 6) for label, p in zip(labels, self.probabilities, strict=True)},
            "method": self.method,
            "base": round(self.base, 6),
            "words": [
                {"word": word, "share": round(share, 6)} for word, share in zip(self.words, self.shares, strict=True)
            ],
        }


async def explain(text: str, predict: RowsForTexts, word_shares: RowsForTexts | None) -> Explanation:
    """Explain one text.

    Parameters
    ----------
    predict : async callable
        Returns the probabilities of texts.
    word_shares : async callable or None
        Returns each word's contribution to the logits, as `Predictor.explain` does. If `None`, shares are computed by
        occlusion: the decrease of the lead when a word is left out (Li, Monroe and Jurafsky, "Understanding neural
        networks through representation erasure", 2016).
    """
    text = repair(text)
    spans = word_spans(text)
    words = [text[start:stop] for start, stop in spans]
    if word_shares is not None:
        (probabilities,) = await predict((text,))
        (row,) = await word_shares((text,))
        width = 1 + len(words)
        base, *shares = _leads([row[start : start + width] for start in range(0, len(row), width)], probabilities)
        return Explanation(probabilities, words, shares, base, "exact")
    bounds = [len(words) * n // MAX_OCCLUSIONS for n in range(MAX_OCCLUSIONS + 1)]
    pieces = [(start, stop) for start, stop in pairwise(bounds) if start < stop]
    if len(words) <= MAX_OCCLUSIONS:
        pieces = [(position, position + 1) for position in range(len(words))]
    without = [without_span(text, spans[start][0], spans[stop - 1][1]) for start, stop in pieces]
    rows = await predict([text, *without, ""])
    winner = _winner(rows[0])
    whole, *others, base = (_lead(row, winner) for row in rows)
    shares = [
        (whole - lead) / (stop - start)
        for lead, (start, stop) in zip(others, pieces, strict=True)
        for _ in range(start, stop)
    ]
    return Explanation(rows[0], words, shares, base, "occlusion")


def _winner(probabilities: Sequence[float]) -> int:
    return max(range(len(probabilities)), key=probabilities.__getitem__)


def _lead(probabilities: Sequence[float], label: int) -> float:
    logs = [math.log(max(p, _MIN_PROBABILITY)) for p in probabilities]
    return logs[label] - fmean(log for other, log in enumerate(logs) if other != label)


def _leads(logits: Sequence[Sequence[float]], probabilities: Sequence[float]) -> list[float]:
    """For each column, the logit of the most probable label minus the mean of the others'."""
    winner = _winner(probabilities)
    return [
        column[winner] - fmean(value for other, value in enumerate(column) if other != winner)
        for column in zip(*logits, strict=True)
    ]
