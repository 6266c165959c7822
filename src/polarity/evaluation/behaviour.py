"""Behaviour tests of a classifier: the pass rate of each test against its limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from pydantic import TypeAdapter

from polarity.evaluation.behaviour_tests import BehaviourTest, Omission
from polarity.inference.predictor import Predict
from polarity.text.tweets import FloatArray

# A score close to its maximum can hardly rise, so added praise may lower it by up to this much.
TOLERANCE = 0.05
FAILURES_KEPT = 10


@dataclass(frozen=True)
class Failure:
    """A failed test case: its sentences and the prediction for each."""

    texts: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class BehaviourResult:
    """The pass rate of a test, with examples of the cases that failed."""

    name: str
    kind: str
    title: str
    cases: int
    rate: float
    limit: float
    failures: tuple[Failure, ...]

    @property
    def passed(self) -> bool:
        """Whether the pass rate is at least the limit."""
        return self.rate >= self.limit


@dataclass(frozen=True)
class BehaviourReport:
    """Results of all tests; empty if the class set lacks `positive` or `negative`.

    `omitted` are the tests that could not be made of the tweets; `language` says which language's sentences were put to
    the model, and why.
    """

    results: tuple[BehaviourResult, ...]
    omitted: tuple[Omission, ...] = ()
    language: str = ""

    @property
    def objections(self) -> tuple[str, ...]:
        """One sentence per failed test, as reasons against promotion; empty if all passed."""
        return tuple(
            f"“{result.title}” passes {result.rate:.1%} of its cases; the limit is {result.limit:.1%}"
            for result in self.results
            if not result.passed
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-compatible types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, report: Mapping[str, Any]) -> Self:
        """Rebuild a report from the output of `to_dict`."""
        return TypeAdapter(cls).validate_python(report)


def run_behaviour_tests(
    predict: Predict,
    label_names: Sequence[str],
    tests: Sequence[BehaviourTest],
    limits: Mapping[str, float],
) -> BehaviourReport:
    """Run the behaviour tests on a classifier.

    Parameters
    ----------
    predict : callable
        Maps texts to probabilities of shape (n, n_labels).
    label_names : sequence of str
    tests : sequence of BehaviourTest
    limits : mapping of str to float
        Minimum pass rate by test name; a test that is not listed has no limit.
    """
    if not {"positive", "negative"} <= set(label_names):
        return BehaviourReport(())
    texts = sorted({text for test in tests for case in test.cases for text in case})
    answered = dict(zip(texts, predict(texts), strict=True))
    return BehaviourReport(tuple(_judge(test, answered, label_names, limits.get(test.name, 0.0)) for test in tests))


def _judge(
    test: BehaviourTest, answered: Mapping[str, FloatArray], label_names: Sequence[str], limit: float
) -> BehaviourResult:
    failures = [
        Failure(case, tuple(_format_answer(answered[text], label_names) for text in case))
        for case in test.cases
        if not _as_expected(test, [answered[text] for text in case], label_names)
    ]
    return BehaviourResult(
        name=test.name,
        kind=test.kind,
        title=test.title,
        cases=len(test.cases),
        rate=1 - len(failures) / len(test.cases),
        limit=limit,
        failures=tuple(failures[:FAILURES_KEPT]),
    )


def _as_expected(test: BehaviourTest, answers: Sequence[FloatArray], label_names: Sequence[str]) -> bool:
    winners = [label_names[int(np.argmax(answer))] for answer in answers]
    good, bad = label_names.index("positive"), label_names.index("negative")
    scores = [float(answer[good] - answer[bad]) for answer in answers]
    match test.expectation:
        case "positive" | "negative":
            return winners[0] == test.expectation
        case "not positive":
            return winners[0] != "positive"
        case "same answer":
            return len(set(winners)) == 1
        case "lower":
            return scores[1] < scores[0]
        case "not lower":
            return scores[1] >= scores[0] - TOLERANCE


def _format_answer(answer: FloatArray, label_names: Sequence[str]) -> str:
    winner = int(np.argmax(answer))
    return f"{label_names[winner]} {answer[winner]:.0%}"
