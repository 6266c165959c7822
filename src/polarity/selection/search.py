"""Hyper-parameter search: which options are tried, and a study that survives a kill.

A family with exhaustive search tries every combination of its grid, and so does any other family if
the grid has no more combinations than there are trials. Otherwise a tree-structured Parzen estimator
(Bergstra et al. 2011, in Optuna's implementation) samples, starting from the configured options. The
objective is the log-loss on validation; the test split is never read. Of a family with exhaustive
search no trial is pruned: it reports its curve whenever a second has passed, so a slower machine
would prune different trials.
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
TRIALS_BEFORE_PRUNING = 3  # a median of fewer is unreliable

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Trial:
    """One trial: its number in the study, its options, and its loss once known."""

    number: int
    options: dict[str, Any]
    log_loss: float | None = None
    pruned: bool = False


@dataclass(frozen=True)
class Search:
    """The study of one model. It holds only identifiers, so that trials in any thread or process can use it.

    Parameters
    ----------
    model : str
    journal : Path
        Optuna's journal, in which every trial is recorded as it happens.
    space : mapping
        Option -> list of values, or range.
    exhaustive : bool
        Whether all combinations are tried; every option is then a list.
    section : type
        Section class of the model's options.
    seed : int
    prune : bool
        Whether a trial may be stopped early.
    """

    model: str
    journal: Path
    space: SearchSpace
    exhaustive: bool
    section: type[ModelSection]
    seed: int
    prune: bool

    @classmethod
    @contextmanager
    def open(
        cls, model: str, present: ModelSection, config: SearchConfig, folder: Path, *, seed: int, key: str
    ) -> Iterator[Search]:
        """Open the study of `model` for the duration of the block, new or resumed from an earlier search.

        Parameters
        ----------
        model : str
        present : ModelSection
            The configured options, which are tried first.
        config : SearchConfig
        folder : Path
            Folder of the journals.
        seed : int
        key : str
            Identifies everything the trials depend on besides the space: data, code, other options.

        Raises
        ------
        ConfigurationError
            If the same search is already running.
        """
        family = family_of(model)
        space = config.space or family.search_space
        if not space:
            raise ConfigurationError(f"{model} has no default search space; set one with --search.space.")
        identity = json.dumps({"key": key, "space": {k: _as_json(v) for k, v in space.items()}}, sort_keys=True)
        journal = folder / f"{model}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.journal"
        folder.mkdir(parents=True, exist_ok=True)
        exhaustive = _is_exhaustive(space, required=family.traits.exhaustive_search, trials=config.trials)
        prune = config.prune and not family.traits.exhaustive_search
        search = cls(model, journal, space, exhaustive, type(present), seed, prune)
        lock = FileLock(journal.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigurationError(
                f"The same search of {model} is already running; wait for it, or set a different --search.space."
            ) from None
        try:
            search._enqueue_pending(present)
            yield search
        finally:
            lock.release()

    def remaining(self, trials: int) -> int:
        """Number of trials still to run, of `trials` or of the whole grid; earlier ones count as done."""
        total = math.prod(len(values) for values in self._lists()) if self.exhaustive else trials
        return max(0, total - len(self._study().get_trials(deepcopy=False, states=FINISHED)))

    def ask(self) -> Trial:
        """The next trial."""
        trial = self._study().ask(self._distributions())
        return Trial(trial.number, self._options(trial.params))

    def should_prune(self, trial: Trial, epoch: int, validation_loss: float) -> bool:
        """Record the loss after an epoch, and return whether to prune the trial."""
        storage = self._storage()
        running = running_trial(self._study(storage), storage, trial.number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a retry of a killed fit reports its epochs again
            running.report(validation_loss, epoch)
        return self.prune and bool(running.should_prune())  # may be a NumPy bool

    def tell(self, trial: Trial) -> None:
        """Record the outcome of a trial: its loss, pruned, or, with neither, failed."""
        state = TrialState.PRUNED if trial.pruned else TrialState.FAIL if trial.log_loss is None else None
        self._study().tell(trial.number, trial.log_loss if state is None else None, state=state)

    def trials(self) -> list[Trial]:
        """All finished trials, best first and pruned ones last."""
        found = [
            Trial(trial.number, self._options(trial.params), trial.value, trial.state is TrialState.PRUNED)
            for trial in self._study().get_trials(deepcopy=False, states=FINISHED)
        ]
        return sorted(found, key=lambda trial: (trial.pruned, trial.log_loss or 0.0, trial.number))

    def _enqueue_pending(self, present: ModelSection) -> None:
        """Enqueue the unfinished trials of a killed search, and the options to try first."""
        study = optuna.create_study(
            study_name=self.model, storage=self._storage(), direction="minimize", load_if_exists=True
        )
        for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
        tried = study.get_trials(deepcopy=False, states=[*FINISHED, TrialState.WAITING])
        known = [options_of(trial) for trial in tried]
        for options in self._initial_options(present):
            if options not in known:
                study.enqueue_trial(options)

    def _initial_options(self, present: ModelSection) -> list[dict[str, Any]]:
        if self.exhaustive:
            names = list(self.space)
            return [
                {name: _encoded(value) for name, value in zip(names, values, strict=True)}
                for values in itertools.product(*self._lists())
            ]
        options = present.model_dump(mode="json")
        inside = all(_contains(self.space[name], options[name]) for name in self.space)
        return [{name: _encoded(options[name]) for name in self.space}] if inside else []

    def _lists(self) -> list[list[Any]]:
        return [list(values) for values in self.space.values() if not isinstance(values, Range)]

    def _distributions(self) -> dict[str, BaseDistribution]:
        integers = {name for name, field in self.section.model_fields.items() if field.annotation is int}
        return {name: _distribution(values, integer=name in integers) for name, values in self.space.items()}

    def _options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Convert Optuna's parameters to options of the configuration, decoding encoded categories."""
        options = {}
        for name, value in params.items():
            values = self.space[name]
            decoded = {} if isinstance(values, Range) else {_encoded(choice): choice for choice in values}
            options[name] = decoded.get(value, value)
        return options

    def _storage(self) -> JournalStorage:
        return JournalStorage(JournalFileBackend(str(self.journal)))

    def _study(self, storage: JournalStorage | None = None) -> optuna.Study:
        storage = storage or self._storage()
        asked = len(optuna.load_study(study_name=self.model, storage=storage).get_trials(deepcopy=False))
        return optuna.load_study(
            study_name=self.model,
            storage=storage,
            # a different seed for each trial, or a resumed search would sample the same options again
            sampler=optuna.samplers.TPESampler(seed=self.seed + asked),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING),
        )


def _is_exhaustive(space: SearchSpace, *, required: bool, trials: int) -> bool:
    lists = [values for values in space.values() if not isinstance(values, Range)]
    few = math.prod(len(values) for values in lists) <= trials
    return len(lists) == len(space) and (few or required)


def _distribution(values: Sequence[Any] | Range, *, integer: bool) -> BaseDistribution:
    if isinstance(values, Range) and integer:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    if isinstance(values, Range):
        return FloatDistribution(values.low, values.high, log=values.log)
    return CategoricalDistribution([_encoded(value) for value in values])


def _contains(values: Sequence[Any] | Range, value: Any) -> bool:
    return values.low <= value <= values.high if isinstance(values, Range) else value in values


def _encoded(value: Any) -> Any:
    """A value that Optuna can store: a list is encoded as JSON."""
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _as_json(values: Sequence[Any] | Range) -> Any:
    return values.model_dump() if isinstance(values, Range) else list(values)
