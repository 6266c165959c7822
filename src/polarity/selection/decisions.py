"""How often a task has decided, and the error level that leaves for the next decision.

A test set that decides again and again is overfitted in the end, even if every candidate is measured
honestly: among enough candidates one looks good by chance. And a reference that is challenged every night
is beaten by chance in the end, even on new tweets every night. Two things are needed to pay for that. A test
set is recognised although it grows from night to night, by a MinHash sketch of its texts (Broder 1997, On
the Resemblance and Containment of Documents). And each decision gets its part of one error budget: online
Bonferroni, also called alpha-spending (Foster and Stine 2008, JRSS B 70, 429-444; Tian and Ramdas 2021,
Statistical Methods in Medical Research 30, 976-993).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Self

from pydantic import TypeAdapter, ValidationError
from scipy.special import zeta

EXPONENT = 1.1
"""Of the weights 1/k^1.1: near 1, so that the hundredth decision still has a chance to find a better model."""
SKETCH_SIZE = 64
SAME_SHARE = 0.5
REMEMBERED = 5


def level_of(decision: int, error: float) -> float:
    """The error level of the k-th decision; the levels of all decisions sum to `error`.

    Parameters
    ----------
    decision : int
        Number of the decision, from 1.
    error : float
        Probability that any of the decisions is wrong.
    """
    if decision < 1:
        raise ValueError(f"Got decision={decision}; decisions are counted from 1.")
    return float(error * decision**-EXPONENT / zeta(EXPONENT))


def sketch(keys: Iterable[str]) -> tuple[str, ...]:
    """The smallest keys, shortened, of a set of texts. Keys are hexadecimal hashes, so these are a random sample."""
    return tuple(sorted({key[:8] for key in keys})[:SKETCH_SIZE])


def similarity(first: tuple[str, ...], second: tuple[str, ...]) -> float:
    """The estimated Jaccard similarity of two sets of texts, by their sketches."""
    union = sorted({*first, *second})[:SKETCH_SIZE]
    return len({*first} & {*second} & {*union}) / len(union) if union else 1.0


@dataclass(frozen=True)
class Count:
    """The number of decisions on a test set, and against the same reference, including the present one."""

    on_test_set: int
    against_reference: int

    @property
    def decision(self) -> int:
        """The number that the level is for: the sum of the levels stays within the budget by either count."""
        return max(self.on_test_set, self.against_reference)


@dataclass(frozen=True)
class TestSet:
    """A test set by the sketch of its latest state, and the number of decisions made on it."""

    __test__ = False  # not a class of tests

    sketch: tuple[str, ...]
    decisions: int


@dataclass(frozen=True)
class Decisions:
    """What a task has decided: its test sets, the most recently used one first, and the challenges of its reference.

    Only a few test sets are remembered.
    """

    test_sets: tuple[TestSet, ...] = ()
    reference: str = ""
    challenges: int = 0

    def count(self, keys: Iterable[str], reference: str) -> tuple[Count, Self]:
        """Count one more decision.

        Parameters
        ----------
        keys : iterable of str
            Of the texts of the test set. A set with at least half of its texts in common is the same set.
        reference : str
            Identifies the version from which the reference's line starts, the last superior promotion.

        Returns
        -------
        count : Count
        decisions : Decisions
            With this one counted.
        """
        present = sketch(keys)
        known = [(similarity(present, other.sketch), other) for other in self.test_sets]
        share, nearest = max(known, key=lambda pair: pair[0], default=(0.0, TestSet((), 0)))
        same = share >= SAME_SHARE
        count = Count(
            on_test_set=nearest.decisions + 1 if same else 1,
            against_reference=self.challenges + 1 if reference == self.reference else 1,
        )
        others = [other for other in self.test_sets if other is not nearest or not same]
        test_sets = (TestSet(present, count.on_test_set), *others)[:REMEMBERED]
        return count, replace(self, test_sets=test_sets, reference=reference, challenges=count.against_reference)

    def to_json(self) -> str:
        """Return the decisions as JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """Rebuild decisions from the output of `to_json`; None has none.

        Raises
        ------
        ValueError
            If the text is something else.
        """
        try:
            return TypeAdapter(cls).validate_json(text) if text else cls()
        except ValidationError as error:
            raise ValueError(f"Got {text!r}; it is not a record of decisions.") from error
