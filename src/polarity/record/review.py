"""Draw answers for labelling by people, the doubtful ones more often, each with a known probability."""

from __future__ import annotations

import math
import random

_UNIFORM_PART = 0.5
# Until enough answers have been seen: about what a classifier of tweets has.
_PRIOR_DOUBT, _PRIOR_ANSWERS = 0.35, 200


class ReviewDraw:
    """Decides for each answer whether it is drawn.

    The probability is a mixture of a uniform part and one proportional to
    `sqrt(c (1 - c))`, where `c` is the answer's score (Zrnic and Candès, "Active
    Statistical Inference", ICML 2024). Its scale is the mean over the previous
    answers, so that the expected share is as wanted without knowing the stream in
    advance; as the probability depends only on the past and the answer itself,
    weighting by its inverse is unbiased.

    Parameters
    ----------
    share : float
        Expected share of the answers that is drawn.
    chance : random.Random, optional
        Default: the system's random numbers.
    """

    def __init__(self, share: float, chance: random.Random | None = None) -> None:
        self._share = share
        self._chance = chance or random.SystemRandom()
        self._doubt = _PRIOR_DOUBT * _PRIOR_ANSWERS
        self._answers = _PRIOR_ANSWERS

    def __call__(self, score: float) -> tuple[float, bool]:
        """The probability of drawing an answer with this score, and whether it is drawn."""
        if not self._share:
            return 0.0, False
        doubt = math.sqrt(max(0.0, score * (1.0 - score)))
        relative = doubt * self._answers / self._doubt
        probability = min(1.0, self._share * (_UNIFORM_PART + (1.0 - _UNIFORM_PART) * relative))
        self._doubt += doubt
        self._answers += 1
        return probability, self._chance.random() < probability
