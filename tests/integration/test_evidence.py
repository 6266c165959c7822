"""Safeguards that make the comparison trustworthy, tested with real runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flows.train
import flows.tune
from flows.train import train
from flows.tune import tune
from polarity.config.sections import BehaviourLimits
from polarity.config.settings import settings
from polarity.data.corpus import generate_tweets
from polarity.data.splits import Splits
from polarity.evaluation.summary import RunSummary
from polarity.inference.package import ModelManifest
from polarity.pipeline.config import TrainConfig, TuneConfig
from polarity.registry.versions import Registry

pytestmark = [pytest.mark.usefixtures("prefect_server", "module_home"), pytest.mark.timeout(600)]

SMALL: dict[str, Any] = {
    "profile": "demo",
    "data": {"rows": 1200},
    "models": ["logistic"],
    "bilstm": {"units": 8, "vector_size": 8, "epochs": 2},
}


def run(**options: Any) -> RunSummary:
    summary: RunSummary = train(TrainConfig.model_validate({**SMALL, **options}))
    return summary


class _Hidden:
    """Moves the test split to a place where nothing can read it."""

    def __init__(self) -> None:
        self.path: Path | None = None

    def hide(self, splits: Splits) -> None:
        self.path = splits.path("test")
        self.path.rename(self._elsewhere)

    def bring_back(self) -> None:
        if self.path is not None:
            self._elsewhere.rename(self.path)
            self.path = None

    @property
    def _elsewhere(self) -> Path:
        assert self.path is not None
        return self.path.parents[1] / "hidden.parquet"


@pytest.fixture
def hidden() -> Iterator[_Hidden]:
    hidden = _Hidden()
    yield hidden
    hidden.bring_back()


def test_test_split_is_not_read_before_selection(hidden: _Hidden, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is hidden from the first fit until selection has finished."""
    prepare, choose = flows.train.prepare_tweets, flows.train.tasks.choose
    seen = []

    def prepare_and_hide(steps: Any) -> Any:
        prepared = prepare(steps)
        hidden.hide(prepared[-1])
        return prepared

    def choose_and_bring_back(steps: Any) -> Any:
        choice = choose(steps)
        seen.append((choice.selected, hidden.path is not None and not hidden.path.exists()))
        hidden.bring_back()
        return choice

    monkeypatch.setattr(flows.train, "prepare_tweets", prepare_and_hide)
    monkeypatch.setattr(flows.train.tasks, "choose", choose_and_bring_back)
    summary = run(seed=5)
    assert seen == [("logistic", True)]
    assert summary.models[0].test["rows"] > 100


def test_search_does_not_read_the_test_split(hidden: _Hidden, monkeypatch: pytest.MonkeyPatch) -> None:
    search = flows.tune.search

    def search_without(run: Any, splits: Splits, *rest: Any) -> Any:
        hidden.hide(splits)
        return search(run, splits, *rest)

    monkeypatch.setattr(flows.tune, "search", search_without)
    found = tune(TuneConfig.model_validate({**SMALL, "seed": 5, "search": {"space": {"c": [1.0, 2.0]}}}))
    assert hidden.path is not None and not hidden.path.exists()
    assert len(found.trials["logistic"]) == 2


@pytest.mark.soak
def test_most_accurate_model_is_not_promoted_if_behaviour_tests_fail(tmp_path: Path) -> None:
    """A model trained on flipped labels is accurate on those tweets, but calls plain praise negative."""
    tweets = generate_tweets(rows=1200, labels=("negative", "positive"), seed=3).to_pandas()
    tweets["label"] = tweets["label"].map({"negative": "positive", "positive": "negative"})
    path = tmp_path / "turned.csv"
    tweets[["label", "text"]].dropna().to_csv(path, index=False)
    summary = run(
        data={"source": "file", "path": path},
        models=["logistic", "bilstm"],
        # no behaviour limits for the poorer network, so that it is left unless it is no better than a constant
        behaviour={"bilstm": dict.fromkeys(BehaviourLimits.model_fields, 0.0)},
    )
    logistic, bilstm = summary.models
    assert logistic.validation["macro_f1"] > max(0.85, bilstm.validation["macro_f1"])
    standing = next(standing for standing in standings(summary) if standing["name"] == "logistic")
    assert any("Plain praise is positive" in objection for objection in standing["objections"])
    assert summary.verdict.selected != "logistic"
    champion = Registry.open().champion()
    assert champion is None or champion.run_id != logistic.mlflow_run_id


@pytest.mark.soak
def test_report_shows_spread_over_seeds() -> None:
    summary = run(models=["bilstm"], evaluation={"train_rows": 200, "seeds": 2, "seed_rows": 400})
    folder = folder_of(summary)
    seeds = json.loads((folder / "seeds.json").read_text())
    assert list(seeds) == ["bilstm"]
    first, second = seeds["bilstm"]
    assert first["rows"] == summary.models[0].test["rows"]
    assert first["log_loss"] != second["log_loss"], "another seed is another model"
    low, high = first["accuracy_interval"]
    assert low - 0.1 < second["accuracy"] < high + 0.1
    assert "each time with a different seed" in (folder / "report.html").read_text()


@pytest.mark.realdata
@pytest.mark.soak
def test_three_classes_work_end_to_end(shared_data: Path, home: Path) -> None:
    labels = ("negative", "neutral", "positive")
    summary = run(
        profile="standard",
        labels=labels,
        data={"path": shared_data / "semeval2017_task4a_dev.tsv.gz", "limit": 8000},
        logistic={"class_weight": "balanced"},
    )
    (model,) = summary.models
    assert summary.data.labels == labels
    low, high = model.test["recall_interval"]
    assert 0.4 < low < model.test["recall"] < high, "well above the majority guess of a third"
    assert summary.verdict.promoted, "its Bento has answered over HTTP"
    champion = Registry.open().champion()
    assert champion is not None
    assert ModelManifest.read(Registry.open().packaged(champion)).labels == labels
    assert "neutral" in (folder_of(summary) / "report.html").read_text()


def folder_of(summary: RunSummary) -> Path:
    return settings().runs_folder / summary.run_id


def standings(summary: RunSummary) -> list[dict[str, Any]]:
    """Return the standing of each candidate in the selection."""
    verdict = json.loads((folder_of(summary) / "verdict.json").read_text())
    found: list[dict[str, Any]] = verdict["standings"]
    return found
