"""The policy, on candidates with predictions of a given accuracy."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from polarity.config.sections import PolicyConfig
from polarity.evaluation.predictions import Predictions
from polarity.evaluation.verdict import Verdict
from polarity.selection.policy import Candidate, select

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


def test_a_quicker_candidate_that_is_shown_to_be_equivalent_wins() -> None:
    best, quick = candidate("best", 0.9, ms=90), candidate("quick", 0.8998, ms=2)  # the same answers but for a few
    verdict = select([best, quick], POLICY, seed=0)
    assert verdict.standings[0].name == "best"
    assert verdict.selected == "quick"
    assert "shown to be equivalent" in verdict.reason


def test_a_difference_that_may_be_chance_is_no_reason_to_take_the_quicker() -> None:
    best, quick = candidate("best", 0.802, ms=90), candidate("quick", 0.8, ms=2, seed=2)
    verdict = select([best, quick], POLICY, seed=0)
    assert verdict.standings[1].behind_best.inconclusive
    assert verdict.selected == "best"
    assert "may be chance" in verdict.reason
    needed = re.search(r"about ([\d,]+) validation tweets would settle it", verdict.reason)
    assert needed is not None
    assert int(needed[1].replace(",", "")) > len(TRUTH)
    assert select([best, quick], PolicyConfig(equivalence=0.05), seed=0).selected == "quick"


def test_the_number_of_tweets_said_to_settle_it_does() -> None:
    rng = np.random.default_rng(7)
    truth = rng.integers(3, size=200_000)
    best, quick = (answering(right, seed, truth=truth) for right, seed in ((0.80, 3), (0.785, 4)))

    def chosen_on(rows: int) -> Verdict:
        parts = [
            Predictions(of.labels[:rows], of.probabilities[:rows], NAMES, of.columns[:rows]) for of in (best, quick)
        ]
        of = [Candidate("best", "bilstm", 90.0, 1, parts[0]), Candidate("quick", "bilstm", 2.0, 1, parts[1])]
        return select(of, POLICY, seed=0)

    found = re.search(r"about ([\d,]+) validation", chosen_on(1500).reason)
    assert found is not None
    settled = chosen_on(3 * int(found[1].replace(",", "")))
    assert "is significantly worse" in settled.reason or "shown to be equivalent" in settled.reason


def test_of_equals_that_are_as_quick_the_smaller_wins() -> None:
    verdict = select([candidate("best", 0.8, ms=2.01, mb=60), candidate("small", 0.8, ms=2.04, mb=3)], POLICY, seed=0)
    assert verdict.selected == "small"


def test_the_reason_names_a_second_that_is_neither_worse_nor_cheaper() -> None:
    verdict = select([candidate("best", 0.802, ms=1), candidate("other", 0.8, ms=5, seed=2)], POLICY, seed=0)
    assert verdict.selected == "best"
    assert "other is not significantly worse, but not cheaper" in verdict.reason


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


def test_the_order_of_the_candidates_does_not_matter() -> None:
    candidates = [candidate("a", 0.8), candidate("b", 0.81, seed=2), candidate("c", 0.6, seed=3)]
    assert select(candidates, POLICY, seed=0) == select(candidates[::-1], POLICY, seed=0)


def test_candidates_on_different_tweets_are_refused() -> None:
    other = Candidate("b", "bilstm", 1.0, 1, answering(0.8, truth=TRUTH[:-1]))
    with pytest.raises(ValueError, match="'b' measured on different tweets than 'a'"):
        select([candidate("a", 0.8), other], POLICY, seed=0)
    with pytest.raises(ValueError, match="no candidates"):
        select([], POLICY, seed=0)


def test_latencies_of_different_machines_are_not_compared() -> None:
    here, there = (replace(candidate(name, 0.8), latency_machine=name) for name in ("a", "b"))
    with pytest.raises(ValueError, match="latencies of different machines"):
        select([here, there], POLICY, seed=0)
    assert select([here], POLICY, seed=0).standings[0].latency_machine == "a"


def test_texts_that_occur_several_times_count_once() -> None:
    def several(name: str, ms: float, right: float) -> Candidate:
        once = answering(right, 1, truth=TRUTH[:300])
        columns = pd.DataFrame({"key": [f"{text:024x}" for text in range(300)]})
        many = [np.repeat(part, 10, axis=0) for part in (once.labels, once.probabilities)]
        rows = columns.loc[np.repeat(np.arange(300), 10)].reset_index(drop=True)
        return Candidate(name, "bilstm", ms, 1, Predictions(many[0], many[1], NAMES, rows))

    best, quick = several("best", 90.0, 0.81), several("quick", 2.0, 0.80)
    behind = select([best, quick], POLICY, seed=0).standings[1].behind_best
    alone = [
        Candidate(
            c.name,
            c.family,
            c.latency_ms_p95,
            1,
            Predictions(c.validation.labels, c.validation.probabilities, NAMES, pd.DataFrame(index=range(3000))),
        )
        for c in (best, quick)
    ]
    assert behind.standard_error > 2 * select(alone, POLICY, seed=0).standings[1].behind_best.standard_error


def test_a_verdict_comes_back_from_json() -> None:
    candidates = [candidate("a", 0.9), candidate("b", 0.7, seed=2), candidate("c", 0.9, ms=900)]
    verdict = select(candidates, POLICY, seed=0)
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
