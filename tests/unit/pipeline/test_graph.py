"""What the keys of steps depend on, and what the policy may compare."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from polarity.evaluation.machine import Machine
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.graph import Evaluate, Fit, Time

CONFIG = TrainConfig(profile="demo")
HERE = Machine("Some CPU", cores=4, threads=4)
DIGESTS = {"train": "t", "validation": "v", "test": "e"}


def keys(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The keys of a model's steps on a machine."""
    monkeypatch.setattr(Machine, "here", classmethod(lambda cls: machine))
    results = {
        "prepare": SimpleNamespace(digests=DIGESTS, labels=CONFIG.labels),
        "fit": SimpleNamespace(digest="m", rows_digest="r"),
    }
    return {step.name: step(CONFIG, results, "logistic").fingerprint().key for step in (Fit, Evaluate, Time)}


@pytest.mark.parametrize(
    "other", [Machine("Another CPU", 4, 4), Machine("Some CPU", 2, 4), Machine("Some CPU", 4, 2)], ids=str
)
def test_only_the_latency_belongs_to_a_machine(other: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = keys(HERE, monkeypatch), keys(other, monkeypatch)
    assert here == keys(HERE, monkeypatch)
    assert here["time"] != there["time"]
    assert here["fit"] == there["fit"]
    assert here["evaluate"] == there["evaluate"]


def test_the_plan_names_the_machine_that_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    results = {"fit": SimpleNamespace(digest="m")}
    monkeypatch.setattr(Machine, "here", classmethod(lambda cls: HERE))
    before = Time(CONFIG, results, "logistic").fingerprint()
    monkeypatch.setattr(Machine, "here", classmethod(lambda cls: Machine("Another CPU", 4, 4)))
    assert Time(CONFIG, results, "logistic").fingerprint().changes(before.parts) == [
        'parameter machine.processor changed: "Some CPU" -> "Another CPU"'
    ]


def test_the_train_figures_depend_on_the_rows_that_were_fitted() -> None:
    def key(rows_digest: str) -> str:
        results = {
            "prepare": SimpleNamespace(digests=DIGESTS, labels=CONFIG.labels),
            "fit": SimpleNamespace(digest="m", rows_digest=rows_digest),
        }
        return Evaluate(CONFIG, results, "logistic").fingerprint().key

    assert key("some") != key("others")
