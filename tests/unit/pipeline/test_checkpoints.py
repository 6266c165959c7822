"""The fit step writes checkpoints into the store, continues from them, and deletes them once its result is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from polarity.errors import ProcessKilled
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.graph import Accept, Fit, Ingest, Prepare
from polarity.pipeline.remote_store import RemoteStore
from polarity.pipeline.step import perform
from polarity.pipeline.store import Store

pytestmark = pytest.mark.timeout(300)
MODEL = "distilbert"


def config_of(**options: object) -> TrainConfig:
    return TrainConfig.model_validate({"profile": "demo", "data": {"rows": 600}, MODEL: options})


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of the step that a fit needs, on the generated corpus."""
    store, results = Store(tmp_path_factory.mktemp("prepared")), dict[str, Any]()
    for step in (Ingest, Accept, Prepare):
        results[step.name] = perform(step(config_of(), results), store).result
    return {Prepare.name: results[Prepare.name]}


def kill_in_each_epoch(config: TrainConfig, splits: Mapping[str, Any], stores: list[Store]) -> tuple[Counter[int], Any]:
    """Fit until it is done, each try on the next store; kill the process in each epoch, once it is trained.

    Returns
    -------
    Counter, list of str
        How often each epoch was trained, and what the step noted.
    """
    trained: Counter[int] = Counter()
    said: list[str] = []
    last = config.section(MODEL).model_dump()["epochs"]
    for number, store in enumerate(stores, 1):

        def listen(fraction: float, message: str, metrics: Mapping[str, float], number: int = number) -> None:
            if message.endswith("validating"):
                trained[int(metrics["epoch"])] += 1
                if metrics["epoch"] == number:
                    child = max(psutil.Process().children(), key=lambda process: process.create_time())
                    child.kill()

        step = Fit(config, splits, MODEL, listen, said.append)
        if number <= last:
            with pytest.raises(ProcessKilled):
                perform(step, store)
        else:
            assert perform(step, store).result.record["history"]["notes"]["best_epoch"] <= last
    return trained, said


@pytest.mark.parametrize(
    ("epochs", "encoder"),
    [(2, "random"), pytest.param(4, "minilm", marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
    ids=["short", "long"],
)
@pytest.mark.parametrize("kind", [pytest.param("folder", marks=pytest.mark.soak), "url"])
def test_a_fit_killed_in_each_epoch_loses_at_most_one_epoch_each_time(
    kind: str, epochs: int, encoder: str, splits: dict[str, Any], tmp_path: Path
) -> None:
    """Behind a URL each try is on another machine, so that it finds the checkpoints of the one before there."""
    config = config_of(encoder=encoder, epochs=epochs, train_rows=200)
    url = f"file://{tmp_path}/shared"
    machines = range(epochs + 1)
    if kind == "folder":
        stores = [Store(tmp_path / "store") for _ in machines]
    else:
        stores = [RemoteStore(url, tmp_path / f"machine-{number}") for number in machines]
    trained, said = kill_in_each_epoch(config, splits, stores)
    assert trained.total() <= epochs + epochs, "each of the kills costs one epoch"
    assert set(trained) == set(range(1, epochs + 1))
    assert max(trained.values()) <= 2
    assert len([sentence for sentence in said if "continuing after" in sentence]) >= epochs - 1
    assert stores[-1].unfinished() == [], "deleted with the result"
    assert stores[-1].leftovers() == []
    assert not list(tmp_path.glob("shared/**/*.checkpoints"))
