"""Draw answers for labelling by people while they are given."""

from __future__ import annotations

import random

from polarity.record.labelling import UNIFORM_PART, LabellingRule, doubt

# Until enough answers have been seen: about what a classifier of tweets has.
_PRIOR_DOUBT, _PRIOR_ANSWERS = 0.35, 200


class ReviewDraw:
    """Decides for each answer whether it is drawn, by `LabellingRule` with the mean doubt of the answers so far.

    The expected share is then as wanted without knowing the traffic in advance. The probability of an answer depends on
    nothing that comes after it, so that weighting by its inverse is unbiased.

    Parameters
    ----------
    share : float
        Expected share of the answers that is drawn; 0 draws none.
    chance : random.Random, optional
        Default: the system's random numbers.
    """

    def __init__(self, share: float, chance: random.Random | None = None) -> None:
        self._share = share
        self._chance = chance or random.SystemRandom()
        self._doubts = _PRIOR_DOUBT * _PRIOR_ANSWERS
        self._answers = _PRIOR_ANSWERS

    def __call__(self, score: float) -> tuple[float, bool]:
        """The probability of drawing an answer with this score, and whether it is drawn."""
        if not self._share:
            return 0.0, False
        mean = self._doubts / self._answers
        rule = LabellingRule(self._share * UNIFORM_PART, self._share * (1 - UNIFORM_PART) / mean)
        probability = rule.probability(score)
        self._doubts += doubt(score)
        self._answers += 1
        return probability, self._chance.random() < probability
