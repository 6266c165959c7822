"""What the policy decided, with all its numbers: what a run records and the report reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from pydantic import TypeAdapter

from polarity.evaluation.comparison import Difference


@dataclass(frozen=True)
class Standing:
    """How one candidate stood: its figures, what speaks against it, and how far it is behind the best."""

    name: str
    family: str
    macro_f1: float
    latency_ms_p95: float
    size_bytes: int
    objections: tuple[str, ...]
    behind_best: Difference | None

    @property
    def eligible(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.objections


@dataclass(frozen=True)
class ChampionComparison:
    """The chosen candidate against the champion on the same test tweets: macro-F1, candidate minus champion."""

    champion: str
    rows: int
    macro_f1: float
    champion_macro_f1: float
    difference: Difference
    margin: float

    @property
    def not_worse(self) -> bool:
        """Whether the whole interval of the difference lies above minus the margin (non-inferiority)."""
        return self.difference.interval[0] > -self.margin


@dataclass(frozen=True)
class Verdict:
    """What the policy said, with all its numbers.

    `selected` is none when no candidate meets the limits. `champion_before`
    names today's champion, if there is one; `promote` says whether `selected`
    should take its place, and `reason` why, in plain words.
    """

    selected: str | None
    promote: bool
    reason: str
    standings: tuple[Standing, ...]
    champion_before: str | None = None
    against_champion: ChampionComparison | None = None

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, verdict: Mapping[str, Any]) -> Self:
        """The verdict as `to_dict` wrote it."""
        return TypeAdapter(cls).validate_python(verdict)
