"""Behaviour tests distinguish a well-behaved classifier from a broken one and explain the difference."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from polarity.evaluation.behaviour import BehaviourReport, run_behaviour_tests
from polarity.evaluation.behaviour_tests import behaviour_tests
from polarity.evaluation.bias import SENTENCES, BiasReport, check_bias
from polarity.pipeline.config import BehaviourConfig

from .wordlist import WordList

NAMES = ("negative", "positive")
LIMITS = BehaviourConfig().limits("logistic")


def rates(report: BehaviourReport) -> dict[str, float]:
    return {result.name: result.rate for result in report.results}


@pytest.mark.parametrize("labels", [NAMES, ("negative", "neutral", "positive"), ("positive", "negative")])
def test_a_well_behaved_classifier_passes(labels: tuple[str, ...]) -> None:
    report = run_behaviour_tests(WordList(labels=labels), labels, LIMITS)
    assert report.objections == ()
    assert min(rates(report).values()) > 0.95


def test_a_classifier_that_ignores_negation_fails_the_negation_tests() -> None:
    report = run_behaviour_tests(WordList(negation=False), NAMES, LIMITS)
    assert rates(report)["negated"] == rates(report)["added_not"] == 0
    assert rates(report)["plain_positive"] == 1
    assert len(report.objections) == 2
    assert "“An added “not” lowers the score” passes 0% of its cases; the limit is " in report.objections[1]
    failure = next(result for result in report.results if result.name == "added_not").failures[0]
    assert failure.texts == ("this song is great", "this song is not great")
    assert failure.answers[1].startswith("positive")


def test_a_classifier_with_swapped_labels_fails() -> None:
    model = WordList()
    report = run_behaviour_tests(lambda texts: model(texts)[:, ::-1], NAMES, LIMITS)
    assert {"plain_positive", "plain_negative", "added_not"} <= {r.name for r in report.results if not r.passed}


def test_a_classifier_that_depends_on_names_and_links_fails() -> None:
    model = WordList()

    def swayed(texts: Sequence[str]) -> np.ndarray:
        answers = model(texts)
        for row, text in enumerate(texts):
            if any(sign in text for sign in ("Ahmed", "http", "www")):
                answers[row] = [0.9, 0.1]
        return answers

    found = rates(run_behaviour_tests(swayed, NAMES, LIMITS))
    assert found["names"] < 1
    assert found["links"] < LIMITS["links"]
    assert found["mentions"] > 0.95


def test_a_test_without_a_limit_never_fails() -> None:
    assert run_behaviour_tests(WordList(negation=False), NAMES, {}).objections == ()


def test_other_class_sets_are_not_tested() -> None:
    report = run_behaviour_tests(lambda texts: np.full((len(texts), 2), 0.5), ("spam", "ham"), LIMITS)
    assert report.results == ()
    assert report.objections == ()


def test_every_test_has_a_limit_in_the_configuration_for_every_family() -> None:
    names = {test.name for test in behaviour_tests()}
    for family in ("logistic", "bilstm", "distilbert", "bert"):
        assert set(BehaviourConfig().limits(family)) == names


def test_pairs_differ_and_singles_are_single() -> None:
    for test in behaviour_tests():
        assert len(test.cases) >= 50
        expected = 1 if test.kind == "minimum functionality" else 2
        assert all(len(case) == len(set(case)) == expected for case in test.cases), test.name


def test_reports_round_trip_through_json() -> None:
    report = run_behaviour_tests(WordList(negation=False), NAMES, LIMITS)
    assert BehaviourReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    bias = check_bias(WordList(), NAMES)
    assert BiasReport.from_dict(json.loads(json.dumps(bias.to_dict()))) == bias


def test_a_classifier_that_ignores_identity_terms_has_no_bias() -> None:
    assert check_bias(WordList(), NAMES).largest_gap == pytest.approx(0)


def test_a_bias_is_found_and_named() -> None:
    model = WordList()

    def prejudiced(texts: Sequence[str]) -> np.ndarray:
        answers = model(texts)
        for row, text in enumerate(texts):
            if "atheist" in text:
                answers[row] = [0.75, 0.25]
        return answers

    report = check_bias(prejudiced, NAMES)
    religion = next(group for group in report.groups if group.group == "religion")
    assert religion.terms[-1].term == "atheist"
    assert religion.terms[-1].score == pytest.approx(0.25)
    assert religion.gap == report.largest_gap > 0.2
    assert sum(term.shift for term in religion.terms) == pytest.approx(0)


def test_bias_sentences_are_grammatical() -> None:
    seen: list[str] = []
    check_bias(lambda texts: (seen.extend(texts), np.full((len(texts), 2), 0.5))[1], NAMES)
    assert "my neighbour is an atheist" in seen
    assert len(seen) % len(SENTENCES) == 0


def test_the_bias_check_needs_the_class_positive() -> None:
    assert check_bias(WordList(), ("spam", "ham")).groups == ()
