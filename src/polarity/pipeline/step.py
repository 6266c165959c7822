"""The base classes of pipeline steps, which are declared once and then run, planned, timed and drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

from polarity.families.registry import AnyFamily, family_of
from polarity.pipeline.checkpoints import Note, StepCheckpoints
from polarity.pipeline.config import LearningConfig
from polarity.pipeline.fingerprint import Fingerprint, fingerprint
from polarity.pipeline.isolation import Listener
from polarity.pipeline.store import Store
from polarity.pipeline.stored import Stored

T = TypeVar("T")
R = TypeVar("R")

Results = Mapping[str, Any]
"""The results of earlier steps, by step name."""


class Node:
    """A node in the graph of a run: a step with a stored result, or a decision.

    Attributes
    ----------
    name : str
        Used in the plan, the store, the Prefect UI and the drawing of the graph.
    needs : tuple of Node types
        The nodes whose results it takes.
    each_model : bool
        Whether there is one node per model.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[type[Node], ...]] = ()
    each_model: ClassVar[bool] = False

    @classmethod
    def key(cls, model: str | None) -> str:
        """The name of the node, with the model's name appended if there is one node per model."""
        return f"{cls.name}-{model}" if cls.each_model else cls.name


class Step(Node, ABC, Generic[T]):
    """A step on given results: what it depends on, and what it does.

    A subclass declares its inputs (by digest) and its parameters (only the sections that can change its result), and
    writes its result into a folder. Its body and all the code it uses are part of its fingerprint.

    Parameters
    ----------
    config : LearningConfig
        Configuration of the run.
    results : mapping
        Results of the steps that it needs, by step name.
    model : str, optional
        Name of the model, if there is one step per model.
    listen : callable
        Called with the progress, if the step reports any.
    note : callable
        Called with what a user should know, a sentence.

    Attributes
    ----------
    libraries : tuple of str
        Distributions whose versions can change the result.
    files : tuple of Path
        Project files that it reads, such as an expectation suite.
    """

    libraries: ClassVar[tuple[str, ...]] = ()
    files: ClassVar[tuple[Path, ...]] = ()

    def __init__(
        self,
        config: LearningConfig,
        results: Results,
        model: str | None = None,
        listen: Listener = lambda *_: None,
        note: Note = lambda _: None,
    ) -> None:
        self.config = config
        self.results = results
        self.listen = listen
        self.note = note
        self.checkpoints: StepCheckpoints | None = None
        self._model = model

    @property
    def model(self) -> str:
        """The name of the step's model."""
        assert self._model is not None, f"{self.name} needs a model"
        return self._model

    @property
    def family(self) -> AnyFamily:
        """The family of the step's model."""
        return family_of(self.model)

    def result_of(self, step: type[Step[R]]) -> R:
        """The result of a step listed in `needs`."""
        return cast(R, self.results[step.name])

    @abstractmethod
    def inputs(self) -> Mapping[str, str]:
        """Digests of the data that the step reads."""

    def parameters(self) -> Mapping[str, Any]:
        """Options that can change the result."""
        return {}

    @abstractmethod
    def write(self, folder: Path) -> object:
        """Do the work and write the result into an empty folder."""

    @abstractmethod
    def read(self, folder: Path) -> T:
        """Read what `write` wrote."""

    def is_usable(self, result: T) -> bool:
        """Whether a stored result is still usable; something it refers to outside the store may be gone."""
        return True

    def fingerprint(self) -> Fingerprint:
        """What the result depends on; for a step of a model that includes the code of the model's family."""
        modules: tuple[str, ...] = ()
        libraries = self.libraries
        if self._model is not None:
            modules = (type(self.family).__module__,)
            libraries = (*libraries, *self.libraries_of_family())
        return fingerprint(
            self.key(self._model),
            inputs=self.inputs(),
            parameters=self.parameters(),
            code=type(self),
            modules=modules,
            libraries=dict.fromkeys(libraries),
            files=self.files,
        )

    def libraries_of_family(self) -> tuple[str, ...]:
        """Additional distributions from the model's family."""
        return ()

    def options(self, *names: str) -> Mapping[str, Any]:
        """Sections of the configuration as JSON types."""
        dumped = self.config.model_dump(mode="json", include=set(names))
        return {name: dumped[name] for name in names}


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """The result of a step and where it is stored."""

    result: T
    stored: Stored


def recall(step: Step[T], store: Store) -> Outcome[T] | None:
    """The stored result of a step, if nothing it depends on has changed."""
    if (stored := store.recall(step.fingerprint())) is None:
        return None
    result = step.read(stored.folder)
    return Outcome(result, stored) if step.is_usable(result) else None


def perform(step: Step[T], store: Store) -> Outcome[T]:
    """The result of a step: recalled if nothing it depends on has changed, otherwise created."""
    key = step.fingerprint()
    if (stored := store.recall(key)) and not step.is_usable(step.read(stored.folder)):
        store.forget(key)
    step.checkpoints = StepCheckpoints(store, key, step.note)
    stored = store.run(key, step.write)
    return Outcome(step.read(stored.folder), stored)


class Decision(Node, ABC, Generic[T]):
    """A choice between models. It is cheap, so it is repeated in every run instead of stored."""

    @classmethod
    @abstractmethod
    def decide(cls, config: Any, results: Mapping[str, Results]) -> T:
        """Choose.

        Parameters
        ----------
        config : TrainConfig
        results : mapping
            For each model, the results of the steps listed in `needs`, by step name.
        """
