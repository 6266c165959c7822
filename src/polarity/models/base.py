"""What every family of tweet classifiers keeps to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from polarity.data.tweets import FloatArray, Tweets


class Progress(Protocol):
    """Where a fit says how far it is. Called at least once an epoch, and every few seconds in a long one."""

    def __call__(self, fraction: float, message: str, **metrics: float) -> None:
        """Report that `fraction` (0 to 1) of the fit is done; `metrics` such as epoch, loss, validation_accuracy."""
        ...


@dataclass(frozen=True)
class History:
    """The learning curve: one entry per epoch (or per step of a search) with its metrics."""

    epochs: tuple[dict[str, float], ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PackagedModel:
    """A folder that `polarity.serving.predictor.Predictor.load` reads, without the training framework."""

    folder: Path
    size_bytes: int
    precision: str


class FittedClassifier(Protocol):
    """A fitted classifier, still in its training framework."""

    @property
    def history(self) -> History:
        """The learning curve of its fit."""
        ...

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (n_texts, n_labels), float32, rows summing to 1."""
        ...

    def export(self, folder: Path) -> PackagedModel:
        """Write what serving loads into `folder` (made if absent)."""
        ...


class Classifier(Protocol):
    """A family of tweet classifiers: how to fit one, and how to pack a fitted one for serving."""

    family: ClassVar[str]

    def fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedClassifier:
        """Fit on `train`; `validation` may steer early stopping and calibration, nothing else is read."""
        ...
