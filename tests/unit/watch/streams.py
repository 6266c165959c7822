"""Answers of a served model, made up so that the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polarity.record.labelling import LabellingRule
from polarity.watch.labelled_sample import LabelledSample


@dataclass(frozen=True)
class Answers:
    """A window of answers: how sure the model is, and whether it is right."""

    confidence: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]


ACCURACY = 0.8


def answers(random: np.random.Generator, rows: int) -> Answers:
    """Answers of a calibrated model with an accuracy of 0.8 on the traffic."""
    confidence = 0.5 + 0.5 * random.beta(1.5, 1.0, size=rows)
    return Answers(confidence, random.random(rows) < confidence)


def draw(random: np.random.Generator, window: Answers, rule: LabellingRule) -> LabelledSample:
    """Label the answers that the rule draws."""
    inclusion = np.array([rule.probability(confidence) for confidence in window.confidence.tolist()])
    rows = np.flatnonzero(random.random(len(inclusion)) < inclusion)
    return LabelledSample(len(inclusion), rows, inclusion[rows], window.correct[rows])
