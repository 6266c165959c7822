"""The rule by which answers are drawn for labelling, applied to each one while it is answered.

An answer that the model is unsure of is drawn more often, because its label says more about the accuracy; but every
answer can be drawn, and with a known probability, so that estimates stay unbiased (`polarity.watch.labelled_sample`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FLOOR = 0.001
UNIFORM_PART = 0.3
LEAST_INCLUSION = 0.8
"""Of a disagreement with a challenger: below it no label is asked for, because it would weigh much more than others."""
_BISECTIONS = 60


@dataclass(frozen=True)
class LabellingRule:
    """Probability of being drawn for labelling, as a function of the confidence of an answer.

    The probability is base + slope × sqrt(c (1 - c)), between `floor` and 1: a uniform part and one proportional to the
    standard deviation of the correctness of an answer with confidence c (Zrnic and Candès 2024, Active Statistical
    Inference, arXiv 2403.03208, sections 4 and 5). The numbers are fixed in advance, so that the probability of an
    answer depends on nothing that comes after it; they are plain floats and can be packed with a model.

    Parameters
    ----------
    base : float
        Probability of an answer with confidence 1.
    slope : float
        How much the probability grows with the doubt. 0 draws uniformly.
    floor : float, default 0.001
        Lowest probability. Its inverse is the largest weight that a single label can get.

    Examples
    --------
    >>> rule = LabellingRule.for_budget(0.05, [0.55, 0.7, 0.9, 0.99], uniform_part=0.3)
    >>> [round(rule.probability(confidence), 4) for confidence in (0.55, 0.7, 0.9, 0.99)]
    [0.0664, 0.0623, 0.046, 0.0253]
    >>> LabellingRule.uniform(0.05).probability(0.99)
    0.05
    """

    base: float
    slope: float
    floor: float = FLOOR

    def __post_init__(self) -> None:
        if not 0 < self.floor <= 1:
            raise ValueError(f"Got floor={self.floor}; it must be above 0, so that every answer can be drawn, up to 1.")
        if not (self.base >= 0 and self.slope >= 0 and math.isfinite(self.base + self.slope)):
            raise ValueError(f"Got base={self.base} and slope={self.slope}; both must be finite and not below 0.")

    def probability(self, confidence: float) -> float:
        """Return the probability with which an answer of this confidence is drawn.

        Parameters
        ----------
        confidence : float
            The probability of the answered label, between 0 and 1.

        Raises
        ------
        ValueError
            If the confidence is not between 0 and 1.
        """
        return min(max(self.base + self.slope * doubt(confidence), self.floor), 1.0)

    @classmethod
    def uniform(cls, budget: float, *, floor: float = FLOOR) -> LabellingRule:
        """Return the rule that draws every answer with the probability `budget`."""
        _check_budget(budget, floor)
        return cls(budget, 0.0, floor)

    @classmethod
    def for_budget(
        cls,
        budget: float,
        reference: Sequence[float],
        *,
        uniform_part: float = UNIFORM_PART,
        floor: float = FLOOR,
    ) -> LabellingRule:
        """Return the rule that draws a share `budget` of answers whose confidences are distributed as in `reference`.

        Parameters
        ----------
        budget : float
            Expected share of drawn answers. On other traffic it is larger if the model is less sure there.
        reference : sequence of float
            Confidences of the model on tweets that it was not fitted on, such as the validation split.
        uniform_part : float, default 0.3
            Share of the budget that is spent without regard to the confidence. It limits the weight of the answers that
            the model is sure of, in case it is wrong about those.
        floor : float, default 0.001

        Raises
        ------
        ValueError
            If the budget is not between the floor and 1, the uniform part is no share, or there is no reference.
        """
        _check_budget(budget, floor)
        if not 0 <= uniform_part <= 1:
            raise ValueError(f"Got uniform_part={uniform_part}; it must be between 0 and 1.")
        if not len(reference):
            raise ValueError("Got no reference confidences; those of the validation split are needed.")
        doubts = [doubt(float(confidence)) for confidence in reference]
        mean = math.fsum(doubts) / len(doubts)
        if mean == 0:
            return cls.uniform(budget, floor=floor)

        def scaled(factor: float) -> LabellingRule:
            return cls(factor * uniform_part, factor * (1 - uniform_part) / mean, floor)

        def spent(factor: float) -> float:
            rule = scaled(factor)
            return math.fsum(min(max(rule.base + rule.slope * of, floor), 1.0) for of in doubts) / len(doubts)

        # without clipping the factor would be the budget itself
        low, high = 0.0, budget
        while spent(high) < budget * (1 - 1e-12) and high < 1e6:
            low, high = high, 2 * high
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if spent(middle) >= budget else (middle, high)
        return scaled(high)


def doubt(confidence: float) -> float:
    """Return sqrt(c (1 - c)), the standard deviation of the correctness of an answer with confidence c.

    Raises
    ------
    ValueError
        If the confidence is not between 0 and 1.
    """
    if not 0 <= confidence <= 1:
        raise ValueError(f"Got a confidence of {confidence}; it must be between 0 and 1.")
    return math.sqrt(confidence * (1 - confidence))


def _check_budget(budget: float, floor: float) -> None:
    if not floor <= budget <= 1:
        raise ValueError(f"Got budget={budget}; it must be between the floor of {floor} and 1.")
