"""The comparison with the champion and the reference, on predictions of a given accuracy."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from polarity.config.sections import PolicyConfig
from polarity.evaluation.predictions import Predictions
from polarity.evaluation.verdict import Role, Verdict
from polarity.selection.champion import Opponent, compare_with_champion, with_best_reference, withhold
from polarity.selection.decisions import Count

NAMES = ("negative", "positive")
TRUTH = np.random.default_rng(0).integers(2, size=4000)
POLICY = PolicyConfig()
CHOSEN = Verdict("new", promote=True, reason="new is selected.", standings=())


def answering(right: float, seed: int, truth: np.ndarray = TRUTH) -> Predictions:
    """Predictions that are correct for a share `right` of the tweets."""
    answers = np.where(np.random.default_rng(seed).random(len(truth)) < right, truth, 1 - truth)
    return Predictions(truth, np.eye(2, dtype=np.float32)[answers], NAMES, pd.DataFrame(index=range(len(truth))))


def opponent(
    right: float, seed: int, *, name: str = "bilstm (version 3)", role: Role = "champion", learned: int = 0
) -> Opponent:
    """An opponent that learned from the first `learned` test tweets."""
    return Opponent(name, role, answering(right, seed), np.arange(len(TRUTH)) < learned)


def decide(new: Predictions, *opponents: Opponent, count: int = 1, policy: PolicyConfig = POLICY) -> Verdict:
    return compare_with_champion(CHOSEN, new, opponents, count=Count(count, 1), policy=policy, seed=0)


@pytest.mark.parametrize(
    ("new", "champion", "promote", "basis", "words"),
    [
        (0.85, 0.75, True, "superior", "is significantly better than bilstm (version 3)"),
        (0.75, 0.85, False, "not inferior", "so bilstm (version 3) stays"),
        (0.80, 0.80, True, "not inferior", "not worse"),
    ],
)
def test_the_champion_is_replaced_or_stays(new: float, champion: float, promote: bool, basis: str, words: str) -> None:
    seeds = (5, 5) if new == champion else (5, 6)
    verdict = decide(answering(new, seeds[0]), opponent(champion, seeds[1]))
    assert verdict.promote is promote
    assert verdict.basis == basis
    assert words in verdict.reason
    assert verdict.champion_before == "bilstm (version 3)"


def test_a_slightly_worse_candidate_needs_a_wide_margin() -> None:
    new, champion = answering(0.80, 5), opponent(0.805, 6)
    narrow, wide = (decide(new, champion, policy=PolicyConfig(margin=margin)) for margin in (0.001, 0.1))
    assert not narrow.promote
    assert wide.promote


def test_the_candidate_must_not_be_worse_than_the_reference_either() -> None:
    new = answering(0.80, 5)
    champion = opponent(0.80, 5)  # the same answers
    reference = opponent(0.84, 6, name="logistic (version 1)", role="reference")
    assert decide(new, champion).promote
    verdict = decide(new, champion, reference)
    assert not verdict.promote
    assert "it may be worse than logistic (version 1)" in verdict.reason
    assert [comparison.role for comparison in verdict.comparisons] == ["champion", "reference"]


def test_the_reference_is_the_best_of_the_former_champions_and_the_champion() -> None:
    champion, worse, better = opponent(0.80, 1), opponent(0.78, 2, name="a"), opponent(0.82, 3, name="b")
    assert with_best_reference([champion, worse, better]) == [champion, better]
    assert with_best_reference([champion, worse]) == [champion]
    assert with_best_reference([champion]) == [champion]


def test_each_decision_on_a_test_set_asks_for_more() -> None:
    new, champion = answering(0.82, 5), opponent(0.80, 6)
    verdicts = [decide(new, champion, count=count) for count in (1, 10, 100, 10_000)]
    bounds = [verdict.comparisons[0].bound for verdict in verdicts]
    assert bounds == sorted(bounds, reverse=True)
    assert verdicts[0].promote and not verdicts[-1].promote
    assert "This test set has decided for the first time" in verdicts[0].reason
    assert "This test set has decided 10,000 times" in verdicts[-1].reason


def test_tweets_that_the_champion_learned_from_count_for_neither() -> None:
    new = answering(0.80, 5)
    fair = opponent(0.75, 6)
    by_heart = np.where(np.arange(len(TRUTH)) < 2000, TRUTH, fair.predictions.predicted)
    memorising = Predictions(TRUTH, np.eye(2, dtype=np.float32)[by_heart], NAMES, fair.predictions.columns)
    learned = np.arange(len(TRUTH)) < 2000
    assert not decide(new, Opponent("c", "champion", memorising, np.zeros(len(TRUTH), dtype=bool))).promote
    verdict = decide(new, Opponent("c", "champion", memorising, learned))
    assert verdict.promote
    assert (verdict.comparisons[0].rows, verdict.comparisons[0].left_out) == (2000, 2000)
    assert "2,000 that c learned from left out" in verdict.reason


def test_too_few_tweets_left_over_mean_no_verdict() -> None:
    verdict = decide(answering(0.95, 5), opponent(0.6, 6, learned=len(TRUTH) - 99))
    assert not verdict.promote
    assert not verdict.comparisons
    assert "learned from 3,901 of the 4,000 test tweets, and the other 99 are too few" in verdict.reason
    assert decide(answering(0.95, 5), opponent(0.6, 6, learned=len(TRUTH) - 100)).promote


def test_a_promotion_can_be_withheld_for_another_reason() -> None:
    verdict = withhold(CHOSEN, "c (version 1)", "Somebody rolled back from it.")
    assert not verdict.promote
    assert verdict.reason == "new is selected. Somebody rolled back from it."


def test_what_cannot_be_compared_is_refused() -> None:
    nothing = Verdict(None, promote=False, reason="", standings=())
    with pytest.raises(ValueError, match="selects nothing"):
        compare_with_champion(nothing, answering(0.8, 1), [opponent(0.8, 1)], count=Count(1, 1), policy=POLICY, seed=0)
    with pytest.raises(ValueError, match="no opponents"):
        decide(answering(0.8, 1))
    with pytest.raises(ValueError, match="different test tweets"):
        decide(answering(0.8, 1, TRUTH[:-1]), opponent(0.8, 1))


def test_a_verdict_comes_back_from_json() -> None:
    verdict = decide(answering(0.8, 5), opponent(0.8, 6), opponent(0.81, 7, name="a", role="reference"))
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
