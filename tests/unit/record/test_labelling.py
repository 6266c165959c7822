"""The rule that draws answers for labelling keeps to its budget and leaves no answer out."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from polarity.record.labelling import LabellingRule

REFERENCE = (0.5 + 0.5 * np.random.default_rng(0).beta(1.5, 1.0, size=3_000)).tolist()


@pytest.mark.parametrize("uniform_part", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("budget", [0.002, 0.05, 0.6, 0.95, 1.0])
def test_the_budget_is_spent_on_the_reference_whatever_is_clipped(budget: float, uniform_part: float) -> None:
    rule = LabellingRule.for_budget(budget, REFERENCE, uniform_part=uniform_part)
    probabilities = np.array([rule.probability(confidence) for confidence in REFERENCE])
    assert probabilities.mean() == pytest.approx(budget, rel=1e-6)
    assert probabilities.min() >= rule.floor and probabilities.max() <= 1


def test_unsure_answers_are_drawn_more_often_in_proportion_to_their_deviation() -> None:
    rule = LabellingRule.for_budget(0.05, REFERENCE, uniform_part=0.0)
    assert rule.probability(0.5) / rule.probability(0.9) == pytest.approx(0.5 / 0.3)
    mixed = LabellingRule.for_budget(0.05, REFERENCE)
    assert 1 < mixed.probability(0.5) / mixed.probability(0.9) < 0.5 / 0.3


def test_an_answer_without_any_doubt_can_be_drawn() -> None:
    assert LabellingRule.for_budget(0.05, REFERENCE, uniform_part=0.0).probability(1.0) == 0.001
    assert LabellingRule.for_budget(0.05, REFERENCE, uniform_part=0.5).probability(1.0) == pytest.approx(0.025)


def test_a_model_that_is_always_certain_is_drawn_from_uniformly() -> None:
    assert LabellingRule.for_budget(0.05, [1.0, 1.0]) == LabellingRule.uniform(0.05)


def test_a_rule_can_be_written_down_and_read_back() -> None:
    rule = LabellingRule.for_budget(0.05, REFERENCE)
    assert LabellingRule(**asdict(rule)) == rule


def test_what_is_no_rule_is_refused_with_its_value() -> None:
    with pytest.raises(ValueError, match=r"budget=1\.5"):
        LabellingRule.uniform(1.5)
    with pytest.raises(ValueError, match=r"budget=0\.0005; it must be between the floor of 0\.001"):
        LabellingRule.for_budget(0.0005, REFERENCE)
    with pytest.raises(ValueError, match=r"uniform_part=-0\.1"):
        LabellingRule.for_budget(0.05, REFERENCE, uniform_part=-0.1)
    with pytest.raises(ValueError, match="no reference"):
        LabellingRule.for_budget(0.05, [])
    with pytest.raises(ValueError, match="floor=0"):
        LabellingRule(0.05, 0.0, floor=0)
    with pytest.raises(ValueError, match="slope=-1"):
        LabellingRule(0.05, -1)
    with pytest.raises(ValueError, match="confidence of nan"):
        LabellingRule(0.05, 0.1).probability(float("nan"))
