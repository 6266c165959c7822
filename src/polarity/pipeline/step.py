"""A step of the pipeline: declared once, read by whatever runs, plans, times or draws it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

from polarity.families.registry import AnyFamily, family_of
from polarity.pipeline.config import LearningConfig
from polarity.pipeline.fingerprint import Fingerprint, fingerprint
from polarity.pipeline.isolation import Listener
from polarity.pipeline.store import Store
from polarity.pipeline.stored import Stored

T = TypeVar("T")
R = TypeVar("R")

Results = Mapping[str, Any]
"""What the steps before made, by their names."""


class Node:
    """Something in the graph of a run: a step with a stored result, or a decision.

    Attributes
    ----------
    name : str
        The same everywhere: in the plan, the store, the Prefect UI and the picture of the graph.
    needs : tuple of Node types
        Whose results it takes.
    each_model : bool
        Whether there is one for each model.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[type[Node], ...]] = ()
    each_model: ClassVar[bool] = False

    @classmethod
    def key(cls, model: str | None) -> str:
        """Its name, with the model's where there is one for each."""
        return f"{cls.name}-{model}" if cls.each_model else cls.name


class Step(Node, ABC, Generic[T]):
    """A step on given results: what it depends on, and what it does.

    A subclass declares its inputs (by digest), its parameters (only the sections that can change its result), and
    writes its result into a folder. Its body, and all that it uses, is part of its fingerprint.

    Parameters
    ----------
    config : LearningConfig
        Of the run.
    results : mapping
        What the steps that it needs made, by their names.
    model : str, optional
        The model that it is about.
    listen : callable
        Called with how far it is, if it can say so.

    Attributes
    ----------
    libraries : tuple of str
        Distributions whose version can change the result.
    files : tuple of Path
        Files of the project that it reads, such as a suite of expectations.
    """

    libraries: ClassVar[tuple[str, ...]] = ()
    files: ClassVar[tuple[Path, ...]] = ()

    def __init__(
        self,
        config: LearningConfig,
        results: Results,
        model: str | None = None,
        listen: Listener = lambda *_: None,
    ) -> None:
        self.config = config
        self.results = results
        self.listen = listen
        self._model = model

    @property
    def model(self) -> str:
        """The name of the model that it is about."""
        assert self._model is not None, f"{self.name} is about a model"
        return self._model

    @property
    def family(self) -> AnyFamily:
        """The family of its model."""
        return family_of(self.model)

    def result_of(self, step: type[Step[R]]) -> R:
        """What a step that it needs made."""
        return cast(R, self.results[step.name])

    @abstractmethod
    def inputs(self) -> Mapping[str, str]:
        """Digests of what it reads."""

    def parameters(self) -> Mapping[str, Any]:
        """Options that can change its result."""
        return {}

    @abstractmethod
    def write(self, folder: Path) -> object:
        """Do the work, and write its result into an empty folder."""

    @abstractmethod
    def read(self, folder: Path) -> T:
        """What `write` wrote."""

    def is_usable(self, result: T) -> bool:
        """Whether a stored result can still be used; what it refers to outside the store may be gone."""
        return True

    def fingerprint(self) -> Fingerprint:
        """What its result depends on. The code of a model's family counts for all that is done with the model."""
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
        """Distributions that its model's family adds."""
        return ()

    def options(self, *names: str) -> Mapping[str, Any]:
        """Sections of the configuration as JSON types."""
        dumped = self.config.model_dump(mode="json", include=set(names))
        return {name: dumped[name] for name in names}


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """The result of a step, and where it is stored."""

    result: T
    stored: Stored


def recall(step: Step[T], store: Store) -> Outcome[T] | None:
    """The stored result of a step, if nothing that it depends on has changed."""
    if (stored := store.recall(step.fingerprint())) is None:
        return None
    result = step.read(stored.folder)
    return Outcome(result, stored) if step.is_usable(result) else None


def perform(step: Step[T], store: Store) -> Outcome[T]:
    """The result of a step: recalled if nothing that it depends on has changed, else made."""
    key = step.fingerprint()
    if (stored := store.recall(key)) and not step.is_usable(step.read(stored.folder)):
        store.forget(key)
    stored = store.run(key, step.write)
    return Outcome(step.read(stored.folder), stored)


class Decision(Node, ABC, Generic[T]):
    """A choice between models. It takes no time, so it is made anew in each run."""

    @classmethod
    @abstractmethod
    def decide(cls, config: Any, results: Mapping[str, Results]) -> T:
        """Choose.

        Parameters
        ----------
        config : TrainConfig
        results : mapping
            For each model, what the steps that the decision needs made, by their names.
        """
