"""What every family of tweet classifiers declares, and what its classifiers keep to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import Field

from polarity.config.sections import BehaviourLimits, Range, Section
from polarity.families.progress import Progress
from polarity.inference.package import ModelManifest
from polarity.inference.placement import Placement
from polarity.inference.scorers import Scorer
from polarity.inference.traits import Traits
from polarity.text.tweets import FloatArray, Tweets

SearchSpace = Mapping[str, Sequence[Any] | Range]
"""What a search tries: option -> list of values, or range."""

Profiles = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Options of models: profile -> model -> option -> value."""


class ModelSection(Section):
    """The options of one model; every family's section has these, and its own."""

    train_rows: int | None = Field(None, ge=100)
    """Fit on at most so many rows, each class keeping its share. Default: all."""


S = TypeVar("S", bound=ModelSection)


@dataclass(frozen=True)
class History:
    """The learning curve: one entry per epoch (or per step of a search) with its metrics."""

    epochs: tuple[dict[str, float], ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PackagedModel:
    """A folder that `polarity.families.packaging.load_predictor` reads, without the training framework."""

    folder: Path
    size_bytes: int
    precision: str


@dataclass(frozen=True)
class ExternalInput:
    """A file that a fit reads besides the tweets.

    Parameters
    ----------
    digest : str
        The sha256 of its content.
    stands_for : str
        What takes the place of its path among the options: the same file elsewhere is the same input.
    """

    digest: str
    stands_for: str


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
        """Write the packaged model into `folder` (created if absent)."""
        ...


class Classifier(Protocol):
    """How to fit one model."""

    def fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedClassifier:
        """Fit on `train`; `validation` may steer early stopping and calibration, nothing else is read."""
        ...


class Family(ABC, Generic[S]):
    """All that is particular to a family of models, in one place.

    A family of another package is found through the entry-point group `polarity.families`: its name there is the
    family's, its value the class. The module is imported by everything that plans, serves or scores, so it imports
    its training framework inside the functions that train.

    Attributes
    ----------
    name : str
        What it is called in the configuration, the registry and the manifest of a packaged model.
    section : type
        Its options.
    traits : Traits
        How it is scheduled, served, searched and reproduced.
    search_space : mapping
        What a search tries by default.
    behaviour : BehaviourLimits
        Default limits of the behaviour tests.
    libraries : tuple of str
        Distributions whose version can change a fit or what it packages.
    requirements : tuple of str
        Lines (with hashes) that a Bento's requirements need beyond `bentos/requirements.lock` for the scorer to run.
    profiles : mapping
        Options of its models by profile and model, where they differ from the defaults.
    """

    name: ClassVar[str]
    section: type[S]
    traits: ClassVar[Traits] = Traits()
    search_space: ClassVar[SearchSpace] = {}
    behaviour: ClassVar[BehaviourLimits] = BehaviourLimits()
    libraries: ClassVar[tuple[str, ...]] = ()
    requirements: ClassVar[tuple[str, ...]] = ()
    profiles: ClassVar[Profiles] = {}

    def models(self) -> Mapping[str, S]:
        """Its models by name, with their default options. By default one, named as the family."""
        return {self.name: self.section()}

    @abstractmethod
    def classifier(self, section: S, *, name: str, seed: int) -> Classifier:
        """A model that is not fitted yet.

        Parameters
        ----------
        section : ModelSection
            Its options.
        name : str
            Written into what `export` leaves.
        seed : int
            Seed of everything that is drawn in the fit.
        """

    @abstractmethod
    def scorer(self, folder: Path, manifest: ModelManifest, placement: Placement) -> Scorer:
        """Load what `export` wrote, without the training framework."""

    def external_inputs(self, section: S) -> Mapping[str, ExternalInput]:
        """The files besides the tweets that a fit with these options reads, by the option that names them.

        Raises
        ------
        ConfigurationError
            If one is missing.
        """
        return {}

    def check(self, model: str, section: S) -> list[str]:
        """See that what a fit needs can be had, before anything is trained.

        Returns
        -------
        list of str
            What the user should know: what is done for want of something better.

        Raises
        ------
        ConfigurationError
            If something cannot be had; the message says what, and what would be right.
        """
        return []

    def telling_words(self, packaged: Path) -> dict[str, list[tuple[str, float]]] | None:
        """The words that weigh most for each label, the weightiest first; None if the family has no such weights."""
        return None
