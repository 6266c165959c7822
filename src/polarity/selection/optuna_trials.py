"""The inside of Optuna that a search needs beyond the public API.

Checked against one version of Optuna; tests/unit/test_adapters.py fails when that moves.
"""

from __future__ import annotations

from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

OPTUNA = "4.9.0"


def running_trial(study: optuna.Study, storage: BaseStorage, number: int) -> optuna.trial.Trial:
    """A trial that another process asked for, to report to it."""
    study_id = storage.get_study_id_from_name(study.study_name)
    return optuna.trial.Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, number))


def options_of(trial: FrozenTrial) -> dict[str, Any]:
    """The options of a trial, those of one that is only enqueued included."""
    options: dict[str, Any] = trial.params or trial.system_attrs.get("fixed_params") or {}
    return options
