"""The policy, on candidates with predictions of a given accuracy."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from polarity.config.sections import PolicyConfig
from polarity.evaluation.predictions import Predictions
from polarity.selection.policy import Candidate, Verdict, compare_with_champion, select

NAMES = ("negative", "neutral", "positive")
TRUTH = np.random.default_rng(0).integers(3, size=3000)
POLICY = PolicyConfig()


def answering(right: float, seed: int = 1, *, truth: np.ndarray = TRUTH) -> Predictions:
    """Predictions that are correct for a share `right` of the tweets."""
    rng = np.random.default_rng(seed)
    answers = np.where(rng.random(len(truth)) < right, truth, (truth + 1) % 3)
    return Predictions(truth, np.eye(3, dtype=np.float32)[answers], NAMES, pd.DataFrame(index=range(len(truth))))


def candidate(
    name: str,
    right: float,
    *,
    ms: float = 10.0,
    mb: float = 10.0,
    family: str = "bilstm",
    objections: tuple[str, ...] = (),
    seed: int = 1,
) -> Candidate:
    return Candidate(name, family, ms, int(mb * 1e6), answering(right, seed), objections)


def test_the_clearly_best_wins_whatever_it_costs() -> None:
    verdict = select([candidate("cheap", 0.7, ms=1), candidate("best", 0.9, ms=90, seed=2)], POLICY, seed=0)
    assert verdict.selected == "best"
    assert verdict.promote
    assert "cheap is significantly worse" in verdict.reason
    assert [standing.name for standing in verdict.standings] == ["best", "cheap"]
    assert verdict.standings[1].behind_best.value == pytest.approx(-0.2, abs=0.03)


def test_of_equals_the_quicker_wins() -> None:
    best, quick = candidate("best", 0.802, ms=90), candidate("quick", 0.8, ms=2, seed=2)
    verdict = select([best, quick], POLICY, seed=0)
    assert verdict.standings[0].name == "best"
    assert verdict.selected == "quick"
    assert "is not significant" in verdict.reason


def test_of_equals_that_are_as_quick_the_smaller_wins() -> None:
    verdict = select(
        [candidate("best", 0.802, ms=2.01, mb=60), candidate("small", 0.8, ms=2.04, mb=3, seed=2)], POLICY, seed=0
    )
    assert verdict.selected == "small"


def test_the_reason_names_a_best_candidate_that_is_also_the_cheapest() -> None:
    verdict = select([candidate("best", 0.802, ms=1), candidate("other", 0.8, ms=5, seed=2)], POLICY, seed=0)
    assert verdict.selected == "best"
    assert "equivalent candidates: other" in verdict.reason


@pytest.mark.parametrize(
    ("options", "reason"), [({"ms": 900}, "900.0 ms per text is over the limit of 250 ms"), ({"mb": 601}, "601.0 MB")]
)
def test_a_candidate_over_a_limit_is_set_aside(options: dict[str, float], reason: str) -> None:
    verdict = select([candidate("best", 0.95, **options), candidate("other", 0.7, seed=2)], POLICY, seed=0)
    assert verdict.selected == "other"
    assert "only candidate within the limits" in verdict.reason
    set_aside = next(standing for standing in verdict.standings if standing.name == "best")
    assert not set_aside.eligible
    assert reason in set_aside.objections[0]


def test_a_candidate_that_misbehaves_is_set_aside_although_it_is_best() -> None:
    verdict = select(
        [candidate("best", 0.95, objections=("“Plain praise is positive” fails",)), candidate("other", 0.7, seed=2)],
        POLICY,
        seed=0,
    )
    assert verdict.selected == "other"


def test_a_pinned_family_wins_against_a_better_one() -> None:
    verdict = select(
        [candidate("best", 0.9), candidate("logistic", 0.7, family="logistic", seed=2)],
        PolicyConfig(family="logistic"),
        seed=0,
    )
    assert verdict.selected == "logistic"
    assert "pinned to logistic" in next(s for s in verdict.standings if s.name == "best").objections[0]


def test_no_candidate_within_the_limits_is_a_clear_outcome() -> None:
    verdict = select([candidate("a", 0.9, ms=900), candidate("b", 0.8, mb=900)], POLICY, seed=0)
    assert verdict.selected is None
    assert not verdict.promote
    assert verdict.reason.startswith("No candidate can be selected.")
    assert "a: 900.0 ms" in verdict.reason
    with pytest.raises(ValueError, match="selects nothing"):
        compare_with_champion(
            verdict, answering(0.8), champion_name="c", champion=answering(0.8), policy=POLICY, seed=0
        )


def test_the_order_of_the_candidates_does_not_matter() -> None:
    candidates = [candidate("a", 0.8), candidate("b", 0.81, seed=2), candidate("c", 0.6, seed=3)]
    assert select(candidates, POLICY, seed=0) == select(candidates[::-1], POLICY, seed=0)


def chosen() -> Verdict:
    return select([candidate("new", 0.85)], POLICY, seed=0)


@pytest.mark.parametrize(
    ("new", "champion", "promote", "words"),
    [
        (0.85, 0.75, True, "is significantly better than bilstm (version 3)"),
        (0.75, 0.85, False, "so bilstm (version 3) stays"),
        (0.80, 0.80, True, "not worse"),
    ],
)
def test_the_champion_is_replaced_or_stays(new: float, champion: float, promote: bool, words: str) -> None:
    seeds = (5, 5) if new == champion else (5, 6)
    verdict = compare_with_champion(
        chosen(),
        answering(new, seeds[0]),
        champion_name="bilstm (version 3)",
        champion=answering(champion, seeds[1]),
        policy=POLICY,
        seed=0,
    )
    assert verdict.promote is promote
    assert words in verdict.reason
    assert verdict.champion_before == "bilstm (version 3)"


def test_a_slightly_worse_candidate_needs_a_wide_margin() -> None:
    new, champion = answering(0.80, 5), answering(0.805, 6)
    narrow, wide = (
        compare_with_champion(
            chosen(), new, champion_name="c", champion=champion, policy=PolicyConfig(margin=margin), seed=0
        )
        for margin in (0.001, 0.1)
    )
    assert not narrow.promote
    assert wide.promote


def test_a_champion_of_another_class_set_is_replaced() -> None:
    verdict = compare_with_champion(chosen(), answering(0.8), champion_name="c", champion=None, policy=POLICY, seed=0)
    assert verdict.promote
    assert "a different class set" in verdict.reason


def test_candidates_on_different_tweets_are_refused() -> None:
    other = Candidate("b", "bilstm", 1.0, 1, answering(0.8, truth=TRUTH[:-1]))
    with pytest.raises(ValueError, match="'b' measured on different tweets than 'a'"):
        select([candidate("a", 0.8), other], POLICY, seed=0)
    with pytest.raises(ValueError, match="different test tweets"):
        compare_with_champion(
            chosen(), answering(0.8), champion_name="c", champion=other.validation, policy=POLICY, seed=0
        )
    with pytest.raises(ValueError, match="no candidates"):
        select([], POLICY, seed=0)


def test_a_verdict_comes_back_from_json() -> None:
    verdict = compare_with_champion(
        select([candidate("a", 0.9), candidate("b", 0.7, seed=2), candidate("c", 0.9, ms=900)], POLICY, seed=0),
        answering(0.8, 5),
        champion_name="c",
        champion=answering(0.8, 6),
        policy=POLICY,
        seed=0,
    )
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
