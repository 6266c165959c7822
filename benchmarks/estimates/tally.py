"""The estimates of one method over the repetitions of a simulation."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from polarity.watch.estimates import Estimate

Figures = dict[str, float]


@dataclass
class Tally:
    """Estimates, each beside the truth."""

    rows: list[tuple[float, float, float, float]] = field(default_factory=list)

    def add(self, found: Estimate, truth: float) -> None:
        self.rows.append((found.value, found.low, found.high, truth))

    def figures(self) -> Figures:
        """Coverage, mean length, bias and mean absolute error, and the mean truth."""
        value, low, high, truth = np.array(self.rows).T
        return {
            "coverage": float(((low <= truth) & (truth <= high)).mean()),
            "length": float((high - low).mean()),
            "bias": float((value - truth).mean()),
            "mean_absolute_error": float(np.abs(value - truth).mean()),
            "truth": float(truth.mean()),
        }
