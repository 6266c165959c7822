"""The decision of the selection policy with its figures, as recorded by a run and read by the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from pydantic import TypeAdapter

from polarity.evaluation.comparison import Difference

Role = Literal["champion", "reference"]
Part = Literal["all", "old", "recent"]
Basis = Literal["first", "superior", "not inferior", "requested", "rollback"]
"""On what grounds a version becomes champion."""


@dataclass(frozen=True)
class Standing:
    """One candidate in the selection: its metrics, the objections to it, and its difference from the best."""

    name: str
    family: str
    macro_f1: float
    latency_ms_p95: float
    size_bytes: int
    objections: tuple[str, ...]
    behind_best: Difference | None
    latency_machine: str = ""

    @property
    def eligible(self) -> bool:
        """Whether there are no objections."""
        return not self.objections


@dataclass(frozen=True)
class ChampionComparison:
    """Macro-F1 of the selected candidate against an earlier model's on the same test tweets; candidate minus opponent.

    `role` says which model the opponent is: the champion, or the reference (the best former champion since the last
    superior promotion). `left_out` is the number of test tweets that the opponent learned from, which count for
    neither. `on_test_set` and `against_reference` count the decisions on this test set and against this reference, and
    `level` is the one-sided error level that they leave for this one.
    """

    opponent: str
    role: Role
    rows: int
    left_out: int
    macro_f1: float
    opponent_macro_f1: float
    difference: Difference
    margin: float
    level: float
    on_test_set: int
    against_reference: int
    part: Part = "all"
    """The test tweets that were compared: all, those of the file (`old`), or those that came in since (`recent`)."""

    @property
    def bound(self) -> float:
        """The lower confidence bound of the difference at the decision's level."""
        return self.difference.lower_bound(self.level)

    @property
    def not_worse(self) -> bool:
        """Whether the difference is shown to be above minus the margin (non-inferiority)."""
        return self.bound > -self.margin

    @property
    def superior(self) -> bool:
        """Whether the difference is shown to be above zero."""
        return self.bound > 0


@dataclass(frozen=True)
class Verdict:
    """The decision of the policy with its figures.

    `selected` is `None` if no candidate meets the limits. `champion_before`
    is the current champion, if any. `promote` indicates whether `selected`
    should replace it, `basis` on what grounds, and `reason` explains why in
    plain language. `comparisons` are the comparisons with the champion and, if that
    is another model, the reference.
    """

    selected: str | None
    promote: bool
    reason: str
    standings: tuple[Standing, ...]
    champion_before: str | None = None
    basis: Basis = "first"
    comparisons: tuple[ChampionComparison, ...] = ()
    canary: bool = False
    """Whether `selected` would replace the champion, but is to pass as a canary first; then `promote` is false."""

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON-compatible types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, verdict: Mapping[str, Any]) -> Self:
        """Rebuild a verdict from the output of `to_dict`."""
        return TypeAdapter(cls).validate_python(verdict)
