"""The search for better hyper-parameters: what is tried, and a study that outlives a kill.

A family with exhaustive search tries every combination of its grid, and so do the others where
there are no more combinations than trials. Otherwise a tree-structured Parzen estimator (Bergstra
et al. 2011, as Optuna has it) chooses, beginning with the options that the configuration has
already. What is minimised is the log-loss on validation; the test split is never read.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from polarity.config.sections import Range, SearchConfig
from polarity.errors import ConfigurationError
from polarity.families.protocol import ModelSection, SearchSpace
from polarity.families.registry import family_of
from polarity.selection.optuna_trials import options_of, running_trial

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
TRIALS_BEFORE_PRUNING = 3  # a median of fewer says little

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Trial:
    """One try: its number in the study, the options it has, and its loss once it is known."""

    number: int
    options: dict[str, Any]
    log_loss: float | None = None
    pruned: bool = False


@dataclass(frozen=True)
class Search:
    """The study of one model: holds addresses only, so that trials in any thread or process can use it.

    Parameters
    ----------
    model : str
    journal : Path
        Where every trial is written down as it happens (Optuna's journal).
    space : mapping
        Option -> list of values, or range.
    whole : bool
        Every option is a list, and all combinations are tried.
    section : type
        Of the model's options.
    seed : int
    prune : bool
        Whether a trial may be stopped early.
    """

    model: str
    journal: Path
    space: SearchSpace
    whole: bool
    section: type[ModelSection]
    seed: int
    prune: bool

    @classmethod
    @contextmanager
    def open(
        cls, model: str, present: ModelSection, config: SearchConfig, folder: Path, *, seed: int, key: str
    ) -> Iterator[Search]:
        """The study of `model` for the block, new or where an earlier search of the same left it.

        Parameters
        ----------
        model : str
        present : ModelSection
            The options that the configuration has already, which are tried first.
        config : SearchConfig
        folder : Path
            Where the journals are kept.
        seed : int
        key : str
            Of what the trials depend on besides the space: data, code, other options.

        Raises
        ------
        ConfigurationError
            If the same search is running already.
        """
        family = family_of(model)
        space = config.space or family.search_space
        if not space:
            raise ConfigurationError(f"{model} has no search space of its own; give one with --search.space.")
        identity = json.dumps({"key": key, "space": {k: _plain(v) for k, v in space.items()}}, sort_keys=True)
        journal = folder / f"{model}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.journal"
        folder.mkdir(parents=True, exist_ok=True)
        whole = _is_whole(space, exhaustive=family.traits.exhaustive_search, trials=config.trials)
        search = cls(model, journal, space, whole, type(present), seed, config.prune)
        alone = FileLock(journal.with_suffix(".lock"))
        try:
            alone.acquire(timeout=0)
        except Timeout:
            raise ConfigurationError(
                f"The same search of {model} is running already; wait for it, or give it another --search.space."
            ) from None
        try:
            search._take_up(present)
            yield search
        finally:
            alone.release()

    def left(self, trials: int) -> int:
        """How many trials are to be done, of `trials` or of the whole grid, earlier ones counted."""
        wanted = math.prod(len(values) for values in self._lists()) if self.whole else trials
        return max(0, wanted - len(self._study().get_trials(deepcopy=False, states=FINISHED)))

    def ask(self) -> Trial:
        """What to try next."""
        trial = self._study().ask(self._distributions())
        return Trial(trial.number, self._options(trial.params))

    def is_hopeless(self, trial: Trial, epoch: int, validation_loss: float) -> bool:
        """Write down the loss after an epoch, and say whether the trial may be given up."""
        storage = self._storage()
        running = running_trial(self._study(storage), storage, trial.number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a fit that was killed and is retried reports its epochs again
            running.report(validation_loss, epoch)
        return self.prune and bool(running.should_prune())  # NumPy has a bool of its own

    def tell(self, trial: Trial) -> None:
        """Write down how a trial ended: with its loss, pruned, or, with neither, failed."""
        state = TrialState.PRUNED if trial.pruned else TrialState.FAIL if trial.log_loss is None else None
        self._study().tell(trial.number, trial.log_loss if state is None else None, state=state)

    def trials(self) -> list[Trial]:
        """All that were finished, the best first and the pruned last."""
        found = [
            Trial(trial.number, self._options(trial.params), trial.value, trial.state is TrialState.PRUNED)
            for trial in self._study().get_trials(deepcopy=False, states=FINISHED)
        ]
        return sorted(found, key=lambda trial: (trial.pruned, trial.log_loss or 0.0, trial.number))

    def _take_up(self, present: ModelSection) -> None:
        """Queue what a killed search did not finish, and what is to be tried first."""
        study = optuna.create_study(
            study_name=self.model, storage=self._storage(), direction="minimize", load_if_exists=True
        )
        for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
        tried = study.get_trials(deepcopy=False, states=[*FINISHED, TrialState.WAITING])
        known = [options_of(trial) for trial in tried]
        for first in self._first(present):
            if first not in known:
                study.enqueue_trial(first)

    def _first(self, present: ModelSection) -> list[dict[str, Any]]:
        if self.whole:
            names = list(self.space)
            return [
                {name: _written(value) for name, value in zip(names, values, strict=True)}
                for values in itertools.product(*self._lists())
            ]
        options = present.model_dump(mode="json")
        inside = all(_holds(self.space[name], options[name]) for name in self.space)
        return [{name: _written(options[name]) for name in self.space}] if inside else []

    def _lists(self) -> list[list[Any]]:
        return [list(values) for values in self.space.values() if not isinstance(values, Range)]

    def _distributions(self) -> dict[str, BaseDistribution]:
        whole = {name for name, field in self.section.model_fields.items() if field.annotation is int}
        return {name: _distribution(values, whole=name in whole) for name, values in self.space.items()}

    def _options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What the configuration takes: categories that Optuna cannot hold as they are, read back."""
        options = {}
        for name, value in params.items():
            values = self.space[name]
            read = {} if isinstance(values, Range) else {_written(choice): choice for choice in values}
            options[name] = read.get(value, value)
        return options

    def _storage(self) -> JournalStorage:
        return JournalStorage(JournalFileBackend(str(self.journal)))

    def _study(self, storage: JournalStorage | None = None) -> optuna.Study:
        storage = storage or self._storage()
        asked = len(optuna.load_study(study_name=self.model, storage=storage).get_trials(deepcopy=False))
        return optuna.load_study(
            study_name=self.model,
            storage=storage,
            # a seed of its own for each question, or a search that goes on would ask the same again
            sampler=optuna.samplers.TPESampler(seed=self.seed + asked),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING),
        )


def _is_whole(space: SearchSpace, *, exhaustive: bool, trials: int) -> bool:
    lists = [values for values in space.values() if not isinstance(values, Range)]
    few = math.prod(len(values) for values in lists) <= trials
    return len(lists) == len(space) and (few or exhaustive)


def _distribution(values: Sequence[Any] | Range, *, whole: bool) -> BaseDistribution:
    if isinstance(values, Range) and whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    if isinstance(values, Range):
        return FloatDistribution(values.low, values.high, log=values.log)
    return CategoricalDistribution([_written(value) for value in values])


def _holds(values: Sequence[Any] | Range, value: Any) -> bool:
    return values.low <= value <= values.high if isinstance(values, Range) else value in values


def _written(value: Any) -> Any:
    """As Optuna can hold it: a list as JSON."""
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _plain(values: Sequence[Any] | Range) -> Any:
    return values.model_dump() if isinstance(values, Range) else list(values)
