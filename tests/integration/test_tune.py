"""The search flow on a real Prefect server and MLflow."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from flows.train import train
from flows.tune import Tuning, tune
from polarity.config.settings import settings
from polarity.pipeline.config import TrainConfig, TuneConfig
from polarity.registry.mlflow_client import connect

pytestmark = [pytest.mark.usefixtures("prefect_server", "module_home"), pytest.mark.timeout(600)]

SMALL: dict[str, Any] = {"profile": "demo", "data": {"rows": 1200}, "evaluation": {"train_rows": 200}}


def search(model: str, **options: Any) -> Tuning:
    found: Tuning = tune(TuneConfig.model_validate({**SMALL, "models": [model], "search": options}))
    return found


def trial_runs(tuning: Tuning) -> dict[str, str]:
    """Return the MLflow status of each trial of a search."""
    client = connect(settings().tracking_uri)
    (parent,) = client.search_runs(
        [client.get_experiment_by_name("polarity").experiment_id], f"attributes.run_name = '{tuning.run_id}'"
    )
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )  # fmt: skip
    return {child.info.run_name: child.info.status for child in children}


@pytest.mark.soak
def test_grid_is_searched_once_and_next_training_uses_the_best(module_home: Path) -> None:
    grid = {"c": [0.01, 2.0], "word_ngrams": [[1, 1], [1, 2]]}
    tuning = search("logistic", space=grid)
    losses = [trial.log_loss for trial in tuning.trials["logistic"]]
    assert len(losses) == 4
    assert losses == sorted(losses)
    assert trial_runs(tuning) == {f"logistic-trial-{number}": "FINISHED" for number in range(4)}
    assert json.loads(tuning.best.read_text()) == {"logistic": tuning.trials["logistic"][0].options}
    with (tuning.best.parent / "trials.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 4

    again = search("logistic", space=grid)
    assert again.trials == tuning.trials
    assert trial_runs(again) == {}, "nothing is tried twice"

    config = TrainConfig.model_validate({**SMALL, "models": ["logistic"], "tuned": tuning.best})
    assert config.logistic.c == tuning.trials["logistic"][0].options["c"] == 2.0
    trained = train(config)
    assert trained.models[0].cached, "the best trial is the fit"
    assert trained.models[0].validation["log_loss"] == pytest.approx(losses[0], abs=1e-9)
    over = TrainConfig.model_validate({**SMALL, "tuned": tuning.best, "logistic": {"c": 3.0}})
    assert over.logistic.c == 3.0, "explicit options override the search results"


@pytest.mark.soak
def test_poor_network_is_pruned_and_the_others_finish(module_home: Path) -> None:
    tuning = search("bilstm", space={"learning_rate": [4e-3, 5e-3, 6e-3, 1e-6], "units": [8]}, trials=4, workers=1)
    *finished, given_up = tuning.trials["bilstm"]
    assert given_up.options["learning_rate"] == 1e-6
    assert given_up.pruned
    assert all(trial.log_loss is not None for trial in finished)
    assert sorted(trial_runs(tuning).values()) == ["FINISHED", "FINISHED", "FINISHED", "KILLED"]
    assert not list((module_home / "store" / "fit-bilstm").glob(".*")), "its partial fit is deleted"


def test_search_results_are_validated_when_read(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text('{"logistics": {"c": 1.0}}')
    with pytest.raises(Exception, match=r"best\.json"):
        TrainConfig.model_validate({**SMALL, "tuned": path})
    state = tune(TuneConfig.model_validate({**SMALL, "data": {"source": "file"}}), return_state=True)
    assert state.is_failed()
    assert "data.path" in str(state.message)
