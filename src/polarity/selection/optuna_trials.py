"""Adapter for the Optuna internals that a search needs beyond the public API.

Checked against the version below; tests/unit/test_adapters.py fails when the installed version differs.
"""

from __future__ import annotations

from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

OPTUNA = "4.9.0"


def running_trial(study: optuna.Study, storage: BaseStorage, number: int) -> optuna.trial.Trial:
    """A trial that a different process asked for, for reporting intermediate values."""
    study_id = storage.get_study_id_from_name(study.study_name)
    return optuna.trial.Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, number))


def options_of(trial: FrozenTrial) -> dict[str, Any]:
    """The options of a trial, even if it is only enqueued."""
    options: dict[str, Any] = trial.params or trial.system_attrs.get("fixed_params") or {}
    return options
