"""The decision of the selection policy with its figures, as recorded by a run and read by the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from pydantic import TypeAdapter

from polarity.evaluation.comparison import Difference


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

    @property
    def eligible(self) -> bool:
        """Whether there are no objections."""
        return not self.objections


@dataclass(frozen=True)
class ChampionComparison:
    """Macro-F1 of the selected candidate against the champion's on the same test tweets; candidate minus champion."""

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
    """The decision of the policy with its figures.

    `selected` is `None` if no candidate meets the limits. `champion_before`
    is the current champion, if any. `promote` indicates whether `selected`
    should replace it, and `reason` explains why in plain language.
    """

    selected: str | None
    promote: bool
    reason: str
    standings: tuple[Standing, ...]
    champion_before: str | None = None
    against_champion: ChampionComparison | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON-compatible types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, verdict: Mapping[str, Any]) -> Self:
        """Rebuild a verdict from the output of `to_dict`."""
        return TypeAdapter(cls).validate_python(verdict)
