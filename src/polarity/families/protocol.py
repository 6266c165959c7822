"""The interface of a family of tweet classifiers, and of its classifiers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import Field

from polarity.config.sections import BehaviourLimits, Range, Section
from polarity.families.checkpoints import Checkpoints
from polarity.families.progress import Progress
from polarity.inference.package import ModelManifest
from polarity.inference.placement import Placement
from polarity.inference.scorers import Scorer
from polarity.inference.traits import Traits
from polarity.text.tweets import FloatArray, Tweets

SearchSpace = Mapping[str, Sequence[Any] | Range]
"""The space of a search: option -> list of values, or range."""

Profiles = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Options of models: profile -> model -> option -> value."""


class ModelSection(Section):
    """The options common to all models; every family's section adds its own."""

    train_rows: int | None = Field(None, ge=100)
    """Fit on a stratified subsample of at most this many rows. Default: all rows."""


S = TypeVar("S", bound=ModelSection)


def section_name(model: str) -> str:
    """The section of the configuration with a model's options, e.g. `bilstm_word2vec`."""
    return model.replace("-", "_")


@dataclass(frozen=True)
class History:
    """The learning curve: the metrics of each epoch (or search step)."""

    epochs: tuple[dict[str, float], ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PackagedModel:
    """A folder that `polarity.families.packaging.load_predictor` loads without the training framework."""

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
        Replaces its path among the options, so that the same file at a different path is the same input.
    """

    digest: str
    stands_for: str


class FittedClassifier(Protocol):
    """A fitted classifier, still in its training framework."""

    @property
    def history(self) -> History:
        """The learning curve of the fit."""
        ...

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (n_texts, n_labels), float32, rows summing to 1."""
        ...

    def export(self, folder: Path) -> PackagedModel:
        """Write the packaged model into `folder` (created if absent)."""
        ...


class Classifier(Protocol):
    """An unfitted model."""

    def fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedClassifier:
        """Fit on `train`; `validation` may be used for early stopping and calibration. Nothing else is read.

        `train` is already the subsample of the option `train_rows`. All of it counts as what the model learned from:
        its training metrics are measured on these tweets.
        """
        ...


@runtime_checkable
class Resumable(Protocol):
    """An unfitted model that writes checkpoints during its fit and can continue from one.

    Attributes
    ----------
    checkpoints : Checkpoints or None
        Set before `fit` is called; None for a fit without checkpoints.
    """

    checkpoints: Checkpoints | None


class Family(ABC, Generic[S]):
    """Everything specific to a family of models, in one place.

    An external family is registered in the entry-point group `polarity.families`, under the family's name, with the
    class as value. Everything that plans, serves or scores imports its module, so the module must import its training
    framework only inside the functions that train.

    Attributes
    ----------
    name : str
        Name in the configuration, the registry and the manifest of a packaged model.
    section : type
        Class of its options.
    traits : Traits
        Properties that determine how it is scheduled, served, searched and reproduced.
    search_space : mapping
        Default space of a search.
    behaviour : BehaviourLimits
        Default limits of the behaviour tests.
    libraries : tuple of str
        Distributions whose versions can change a fit or its package.
    requirements : tuple of str
        Requirement lines (with hashes) that the scorer needs in a Bento beyond `bentos/requirements.lock`.
    profiles : mapping
        Options of its models that differ from the defaults, by profile and model.
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
        """The family's models by name, with their default options. By default a single model with the family's name."""
        return {self.name: self.section()}

    @abstractmethod
    def classifier(self, section: S, *, name: str, seed: int) -> Classifier:
        """Create an unfitted model.

        Parameters
        ----------
        section : ModelSection
            Options of the model.
        name : str
            Name of the model, written into its package.
        seed : int
            Seed of all randomness in the fit.
        """

    @abstractmethod
    def scorer(self, folder: Path, manifest: ModelManifest, placement: Placement) -> Scorer:
        """Load the scorer of a package, without the training framework."""

    def external_inputs(self, section: S) -> Mapping[str, ExternalInput]:
        """The files besides the tweets that a fit with these options reads, by option.

        Raises
        ------
        ConfigurationError
            If one is missing.
        """
        return {}

    def check(self, model: str, section: S) -> list[str]:
        """Check that everything a fit needs is available, before anything is trained.

        Returns
        -------
        list of str
            Remarks for the user, e.g. about a fallback that is used.

        Raises
        ------
        ConfigurationError
            If something is missing; the message names it and the remedy.
        """
        return []

    def telling_words(self, packaged: Path) -> dict[str, list[tuple[str, float]]] | None:
        """The words with the largest weights for each label, in descending order; None without word weights."""
        return None
