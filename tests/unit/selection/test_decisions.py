"""How often a task has decided."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarity.selection.decisions import Decisions, level_of, similarity, sketch


def keys(start: int, stop: int) -> list[str]:
    return [hashlib.blake2b(str(number).encode(), digest_size=12).hexdigest() for number in range(start, stop)]


def test_the_levels_of_all_decisions_stay_within_the_error() -> None:
    levels = np.array([level_of(decision, 0.05) for decision in range(1, 100_000)])
    assert (np.diff(levels) < 0).all()
    assert 0.03 < levels.sum() < 0.05
    with pytest.raises(ValueError, match="counted from 1"):
        level_of(0, 0.05)


@given(st.integers(0, 2000), st.integers(200, 2000))
def test_a_sketch_estimates_the_similarity(shift: int, size: int) -> None:
    true = max(0, size - shift) / (size + min(shift, size))
    assert similarity(sketch(keys(0, size)), sketch(keys(shift, shift + size))) == pytest.approx(true, abs=0.25)


def test_a_test_set_that_grows_is_the_same_and_a_new_one_is_not() -> None:
    decisions, counted = Decisions(), []
    for night in range(5):
        count, decisions = decisions.count(keys(0, 1000 + 100 * night), "1")
        counted.append((count.on_test_set, count.against_reference))
    assert counted == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
    other, decisions = decisions.count(keys(5000, 6000), "1")
    assert (other.on_test_set, other.against_reference, other.decision) == (1, 6, 6), "the reference is not new"
    again, decisions = decisions.count(keys(0, 1500), "2")
    assert (again.on_test_set, again.against_reference, again.decision) == (6, 1, 6), "the test set is not new"
    assert Decisions.from_json(decisions.to_json()) == decisions


def test_only_a_few_test_sets_are_remembered_and_fit_a_tag_of_mlflow() -> None:
    decisions = Decisions()
    for start in range(0, 20_000, 1000):
        _, decisions = decisions.count(keys(start, start + 1000), "1")
    assert len(decisions.test_sets) == 5
    assert len(decisions.to_json()) < 5000


def test_something_else_is_refused() -> None:
    assert Decisions.from_json(None) == Decisions()
    with pytest.raises(ValueError, match="not a record of decisions"):
        Decisions.from_json("[1]")
