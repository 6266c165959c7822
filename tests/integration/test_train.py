"""The training flow on a real Prefect server, MLflow and Bento store, with small models."""

from __future__ import annotations

import contextvars
import html
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pandas as pd
import psutil
import pytest
from prefect.states import State

from flows.evaluate import evaluate
from flows.train import train
from polarity.bento import store as bento
from polarity.evaluation.machine import Machine
from polarity.evaluation.summary import RunSummary
from polarity.inference.package import ModelManifest
from polarity.pipeline.config import EvaluateConfig, TrainConfig
from polarity.pipeline.graph import Fitted
from polarity.registry.versions import Registry

pytestmark = [pytest.mark.usefixtures("prefect_server", "module_home"), pytest.mark.timeout(600)]

SMALL = {
    "profile": "demo",
    "data": {"rows": 1200},
    "evaluation": {"train_rows": 200},
    "bilstm": {"units": 8, "vector_size": 8, "epochs": 1},
    "distilbert": {"encoder": "random", "train_rows": 600, "epochs": 6, "learning_rate": 5e-3, "max_tokens": 24},
}


def run(**options: object) -> RunSummary:
    summary: RunSummary = train(TrainConfig.model_validate({**SMALL, **options}))
    return summary


@pytest.fixture(scope="module")
def first(prefect_server: str, module_home: Path) -> RunSummary:
    """The summary of a full run with all three models."""
    return run()


def folder_of(summary: RunSummary, home: Path) -> Path:
    return home / "runs" / summary.run_id


def test_run_folder_matches_the_contract(first: RunSummary, module_home: Path) -> None:
    folder = folder_of(first, module_home)
    written = json.loads((folder / "summary.json").read_text())
    assert set(written) == {
        "run_id", "profile", "git_commit", "git_clean", "started", "seconds", "data", "models", "verdict", "bento",
    }  # fmt: skip
    assert written["data"]["rows"] == 1200
    assert written["data"]["quarantined"] > 0
    assert [model["name"] for model in written["models"]] == ["logistic", "bilstm", "distilbert"]
    for model in written["models"]:
        assert set(model) == {
            "name", "family", "cached", "train_seconds", "train_rows", "mlflow_run_id", "size_bytes", "latency_ms_p95",
            "train", "validation", "test", "test_slices",
        }  # fmt: skip
        assert not model["cached"]
        for split in ("train", "validation", "test"):
            assert {
                "rows", "accuracy", "accuracy_interval", "macro_f1", "macro_f1_interval", "precision", "recall", "auc",
                "log_loss",
            } <= set(model[split])  # fmt: skip
        assert model["test_slices"]["mention"]
        for name in ("mlflow_id.json", "metrics.json", "plots/confusion_matrix.png", "plots/roc.png"):
            assert (folder / model["name"] / name).stat().st_size > 0
    assert (folder / "logistic" / "plots" / "telling_words.png").exists()
    assert (folder / "quarantine.parquet").exists()
    assert (folder / "data_docs" / "raw_tweets" / "index.html").exists()
    assert (folder / "data_docs" / "predictions" / "bilstm" / "index.html").exists()


def test_train_figures_are_of_tweets_that_were_trained_on(first: RunSummary, module_home: Path) -> None:
    (splits,) = (module_home / "store" / "prepare").glob("*/train.parquet")
    texts = pd.read_parquet(splits)["text"]
    for model, used in zip(first.models, (len(texts), len(texts), 600), strict=True):
        (fit,) = (path.parent for path in (module_home / "store" / f"fit-{model.name}").glob("*/fit.json"))
        rows = Fitted(fit).training_rows
        assert len(rows) == len(set(rows.tolist())) == used == model.train_rows
        (evaluated,) = (module_home / "store" / f"evaluate-{model.name}").glob("*/predictions/train.parquet")
        measured = pd.read_parquet(evaluated)["text"]
        assert len(measured) == 200
        assert set(measured) <= set(texts.iloc[rows])


def test_latency_names_the_machine(first: RunSummary, module_home: Path) -> None:
    verdict = json.loads((folder_of(first, module_home) / "verdict.json").read_text())
    assert {standing["latency_machine"] for standing in verdict["standings"]} == {str(Machine.here())}
    assert str(Machine.here()) in html.unescape((folder_of(first, module_home) / "report.html").read_text())


def test_mlflow_has_parent_run_child_runs_and_champion(first: RunSummary) -> None:
    from mlflow import MlflowClient

    registry = Registry.open()
    client = MlflowClient(registry.uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "polarity"]
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [r for r in runs if r.info.run_name == first.run_id]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {child.info.run_name for child in children} == {"logistic", "bilstm", "distilbert"}
    assert {child.info.status for child in [parent, *children]} == {"FINISHED"}
    named = [{name for name in child.data.metrics if not name.startswith(("system/", "curve/"))} for child in children]
    assert named[0] == named[1] == named[2]
    assert all(any(name.startswith("system/") for name in child.data.metrics) for child in children)
    assert {run.data.tags["data_digest"] for run in [parent, *children]} == {first.data.digest}
    assert parent.data.tags["git_commit"] == first.git_commit
    versions = [version for version in registry.versions() if version.run_id in {c.info.run_id for c in children}]
    assert sorted(version.name for version in versions) == ["bilstm", "distilbert", "logistic"]
    assert {version.tags["data_digest"] for version in versions} == {first.data.digest}
    champion = registry.champion()
    assert champion is not None
    assert champion.name == first.verdict.selected


def test_registered_versions_are_taken_away(first: RunSummary, tmp_path: Path) -> None:
    """The package in MLflow has int8 weights; those in full precision come from the fit in the store."""
    numbers = {version.name: version.number for version in Registry.open().versions()}
    packaged = ModelManifest.read(Registry.open().packaged(Registry.open().version(numbers["distilbert"])))
    assert packaged.precision == "int8"
    for model, kind in (("distilbert", "hf"), ("champion", "bento")):
        command = [sys.executable, "-m", "polarity", "export", "--model", str(numbers.get(model, model))]
        done = subprocess.run(
            [*command, "--format", kind, "--to", str(tmp_path / kind)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "hf" / "model.safetensors").stat().st_size > 2 * packaged.size_bytes
    (file,) = (tmp_path / "bento").iterdir()
    command = [sys.executable, "-m", "bentoml", "import", str(file)]
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path / "elsewhere")}
    subprocess.run(command, env=environment, capture_output=True, check=True)
    (model,) = (tmp_path / "elsewhere" / "bentos").glob(f"*/*/src/{bento.MODEL_FOLDER}")
    assert ModelManifest.read(model).name == first.verdict.selected


def test_latest_bento_is_the_champions(first: RunSummary) -> None:
    champion = Registry.open().champion()
    assert champion is not None
    assert champion.bento is not None
    assert first.bento == bento.latest() == bento.promoted_tag(champion.bento)
    assert ModelManifest.read(bento.model_folder(first.bento)).data_digest == first.data.digest


def test_prefect_run_links_data_docs_and_shows_comparison(first: RunSummary, prefect_server: str) -> None:
    docs = artifacts(prefect_server, {"key": {"any_": ["data-docs-raw-tweets"]}})
    page = f"/runs/{first.run_id}/data_docs/raw_tweets/index.html"
    (flow_run,) = {artifact["flow_run_id"] for artifact in docs if page in artifact["data"]}
    assert {
        "comparison", "summary", "mlflow-run", "data-docs-raw-tweets", "confusion-matrix", "fit-bilstm",
    } <= {artifact["key"] for artifact in artifacts(prefect_server, {"flow_run_id": {"any_": [flow_run]}})}  # fmt: skip


def artifacts(api: str, only: dict[str, dict[str, list[str]]]) -> list[dict[str, str]]:
    """Return the Prefect artifacts of the session's flows that match the filter."""
    answer = httpx.post(f"{api}/artifacts/filter", json={"artifacts": only}).raise_for_status()
    found: list[dict[str, str]] = answer.json()
    return found


def test_second_run_trains_nothing_and_says_so(first: RunSummary, module_home: Path) -> None:
    before = [version.number for version in Registry.open().versions()]
    again = run()
    assert all(model.cached for model in again.models)
    assert [version.number for version in Registry.open().versions()] == before, "nothing is registered twice"
    assert not again.verdict.promoted
    assert "already the champion" in again.verdict.reason
    assert again.bento == first.bento
    assert [model.test for model in again.models] == [model.test for model in first.models]


def test_any_stored_model_can_be_evaluated_on_a_labelled_file(first: RunSummary, tmp_path: Path) -> None:
    path = tmp_path / "labelled.csv"
    rows = [("0", "the concert was awful, so sad"), ("4", "what a lovely dinner"), ("meh", "no such label"), ("4", "")]
    path.write_text("\n".join(["label,text", *(f'{label},"{text}"' for label, text in rows)]) + "\n")
    measured = {}
    for model in ("champion", "1"):
        evaluation = evaluate(
            EvaluateConfig.model_validate({"model": model, "data": {"path": path}, "max_bad_share": 0.5})
        )
        measured[model] = evaluation
        assert (evaluation.metrics["rows"], evaluation.left_out) == (2, 2)
        assert (evaluation.folder / "evaluation.json").exists()
    assert str(first.verdict.selected) in measured["champion"].model
    state = evaluate(EvaluateConfig.model_validate({"model": "77", "data": {"path": path}}), return_state=True)
    assert state.is_failed()
    assert "There is no model '77'" in str(state.message)


def test_one_changed_option_refits_one_model(first: RunSummary) -> None:
    changed = run(logistic={"c": 0.5})
    assert {model.name: model.cached for model in changed.models} == {
        "logistic": False,
        "bilstm": True,
        "distilbert": True,
    }


def test_killed_fit_is_retried_while_the_others_finish(first: RunSummary) -> None:
    config = TrainConfig.model_validate({**SMALL, "seed": 5, "faults": {"retry_delay_s": 0.1}})
    states: list[State[RunSummary]] = []
    context = contextvars.copy_context()  # carries the Prefect settings
    flow = threading.Thread(target=lambda: states.append(context.run(train, config, return_state=True)))
    killed: list[int] = []
    flow.start()
    deadline = time.monotonic() + 300
    while flow.is_alive() and time.monotonic() < deadline:
        if not killed:
            killed = [child.pid for child in _fits() if "fit-bilstm" in _job_of(child)]
            if killed:
                time.sleep(1)  # in the middle of importing TensorFlow
                os.kill(killed[0], signal.SIGKILL)
        flow.join(0.1)
    assert killed, "no fit of the BiLSTM was seen"
    (state,) = states
    summary = state.result()
    assert [model.cached for model in summary.models] == [False, False, False]
    runs = {model.name: model.mlflow_run_id for model in summary.models}
    versions = [version for version in Registry.open().versions() if version.run_id in runs.values()]
    assert sorted(version.name for version in versions) == ["bilstm", "distilbert", "logistic"]
    from mlflow import MlflowClient

    client = MlflowClient(Registry.open().uri)
    parent = client.get_run(runs["bilstm"]).data.tags["mlflow.parentRunId"]
    attempts = client.search_runs(
        [client.get_run(parent).info.experiment_id], filter_string=f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    failed = [attempt for attempt in attempts if attempt.info.status == "FAILED"]
    assert [attempt.info.run_name for attempt in failed] == ["bilstm"]
    assert "SIGKILL" in failed[0].data.tags["mlflow.note.content"]


def _fits() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if "polarity.families.fit" in " ".join(_cmdline(p))]


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _job_of(process: psutil.Process) -> str:
    return " ".join(_cmdline(process))


def test_orchestration_never_loads_tensorflow() -> None:
    code = "import sys, flows.train; sys.exit(bool({'tensorflow', 'ktrain', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
