from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polarity.config.command_line import configure
from polarity.config.sections import Range
from polarity.errors import ConfigurationError
from polarity.pipeline.config import TuneConfig
from polarity.selection.search import Search, Trial


def searching(model: str = "bilstm", **search: Any) -> TuneConfig:
    return configure(TuneConfig, {"models": [model], "search": search})


def opened(config: TuneConfig, model: str, folder: Path, *, key: str) -> AbstractContextManager[Search]:
    return Search.open(model, config.section(model), config.search, folder, seed=config.seed, key=key)


def finish(study: Search, *losses: float) -> list[Trial]:
    done = [replace(study.ask(), log_loss=loss) for loss in losses]
    for trial in done:
        study.tell(trial)
    return done


def test_the_logistic_regression_tries_its_whole_grid_once(tmp_path: Path) -> None:
    config = searching("logistic", trials=1, space={"c": [0.5, 2.0], "word_ngrams": [[1, 1], [1, 2]]})
    with opened(config, "logistic", tmp_path, key="k") as study:
        assert study.remaining(1) == 4
        tried = finish(study, 0.5, 0.4, 0.3, 0.6)
        assert study.remaining(1) == 0
        assert [trial.options for trial in tried] == [
            {"c": c, "word_ngrams": ngrams} for c in (0.5, 2.0) for ngrams in ([1, 1], [1, 2])
        ]
        assert study.trials()[0] == tried[2]


def test_a_killed_search_resumes_from_its_finished_trials(tmp_path: Path) -> None:
    config = searching("logistic", space={"c": [1.0, 2.0, 4.0]})
    with opened(config, "logistic", tmp_path, key="k") as study:
        finish(study, 0.5)
        assert study.ask().options == {"c": 2.0}  # started, but its outcome was never recorded
    with opened(config, "logistic", tmp_path, key="k") as study:
        assert study.remaining(3) == 2
        assert sorted(trial.options["c"] for trial in finish(study, 0.4, 0.6)) == [2.0, 4.0]
        assert study.remaining(3) == 0
    with opened(config, "logistic", tmp_path, key="other data") as study:
        assert study.remaining(3) == 3


def test_a_failed_trial_is_repeated_by_the_next_search(tmp_path: Path) -> None:
    config = searching("logistic", space={"c": [1.0, 2.0]})
    with opened(config, "logistic", tmp_path, key="k") as study:
        study.tell(study.ask())
        finish(study, 0.4)
    with opened(config, "logistic", tmp_path, key="k") as study:
        assert study.remaining(2) == 1
        assert study.ask().options == {"c": 1.0}


def test_a_network_starts_from_its_configured_options_and_samples_the_rest(tmp_path: Path) -> None:
    space = {"units": {"low": 8, "high": 96}, "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
    config = searching(space=space, trials=5)
    with opened(config, "bilstm", tmp_path, key="k") as study:
        tried = finish(study, 0.5, 0.4, 0.6, 0.5, 0.45)
        assert tried[0].options == {
            "units": config.section("bilstm").units,
            "learning_rate": config.section("bilstm").learning_rate,
        }
        for trial in tried:
            assert isinstance(trial.options["units"], int)
            assert 1e-4 <= trial.options["learning_rate"] <= 1e-2
            config.with_options("bilstm", trial.options)
        assert len({trial.options["learning_rate"] for trial in tried}) == 5


def test_the_same_seed_samples_the_same_options(tmp_path: Path) -> None:
    config = searching(space={"dropout": {"low": 0.0, "high": 0.6}}, trials=6)
    asked = []
    for folder in ("a", "b"):
        with opened(config, "bilstm", tmp_path / folder, key="k") as study:
            asked.append([trial.options for trial in finish(study, 0.5, 0.4, 0.6, 0.3)])
    assert asked[0] == asked[1]


@pytest.mark.parametrize("prune", [True, False])
def test_a_trial_above_the_median_is_pruned_only_if_enabled(tmp_path: Path, prune: bool) -> None:
    config = searching(trials=9, prune=prune)
    with opened(config, "bilstm", tmp_path, key="k") as study:
        for loss in (0.4, 0.5, 0.6):
            trial = study.ask()
            assert not study.should_prune(trial, 1, loss)
            study.tell(replace(trial, log_loss=loss))
        good, bad = study.ask(), study.ask()
        assert not study.should_prune(good, 1, 0.3)
        assert study.should_prune(bad, 1, 0.9) is prune
        assert study.should_prune(bad, 1, 0.9) is prune, "a retried fit reports its epochs again"
        study.tell(replace(bad, pruned=True))
        assert study.trials()[-1].pruned
        assert study.remaining(9) == 5


def test_no_trial_of_the_logistic_regression_is_pruned(tmp_path: Path) -> None:
    config = searching("logistic", prune=True, space={"c": [1.0, 2.0, 4.0, 8.0]})
    with opened(config, "logistic", tmp_path, key="k") as study:
        for _ in range(3):
            trial = study.ask()
            assert not study.should_prune(trial, 1, 0.5)
            study.tell(replace(trial, log_loss=0.5))
        # whether an iteration is reported depends on the clock
        assert not study.should_prune(study.ask(), 1, 9.0)


def test_the_same_search_does_not_run_twice_at_once(tmp_path: Path) -> None:
    config = searching()
    with (
        opened(config, "bilstm", tmp_path, key="k"),
        pytest.raises(ConfigurationError, match="already running"),
        opened(config, "bilstm", tmp_path, key="k"),
    ):
        pass


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"models": ["bilstm"], "search": {"space": {"unit": [8]}}}, "'unit'"),
        ({"models": ["bilstm"], "search": {"space": {"units": [64, 2]}}}, r"units: 2|units=2"),
        ({"models": ["bilstm"], "search": {"space": {"dropout": {"low": 0.5, "high": 0.1}}}}, "low=0.5 and high=0.1"),
        ({"models": ["bilstm", "logistic"], "search": {"space": {"c": [1.0]}}}, "needs exactly one model"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_before_anything_runs(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        configure(TuneConfig, given)


def test_ranges_are_ranges() -> None:
    assert searching(space={"dropout": {"low": 0.1, "high": 0.5}}).search.space == {"dropout": Range(low=0.1, high=0.5)}
