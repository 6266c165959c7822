"""The tasks of a training run whose results are not stored: selection, MLflow record, champion, promotion."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prefect import get_run_logger

from flows.adapter import polarity_task
from flows.steps import Run, Steps, TrackedFit
from polarity.bento.provenance import Provenance
from polarity.data.snapshot import Snapshot
from polarity.data.splits import Splits
from polarity.evaluation.candidate_plots import draw_candidate
from polarity.evaluation.examination import Examination
from polarity.evaluation.latency import Latency
from polarity.evaluation.mistakes import MistakeReport
from polarity.evaluation.scorecard import Scorecard
from polarity.evaluation.verdict import Verdict
from polarity.families.fit import read_history
from polarity.inference.package import KNOWN_WORDS
from polarity.pipeline import graph
from polarity.pipeline.step import Results
from polarity.registry import promotion
from polarity.registry.learned import learned_hashes, write_learned
from polarity.registry.origin import LINE_TAG, line_of
from polarity.registry.tracking import Tracker
from polarity.registry.versions import Registry, Version
from polarity.text.words import KnownWords
from polarity.watch.confidence import CARD_ENTRY, card_entry
from polarity.watch.drift_windows import reference_from


@dataclass(frozen=True)
class ModelRun:
    """One model of a run with all its measurements, and its registered version once it has one."""

    name: str
    fitted: TrackedFit
    scorecard: Scorecard
    examined: Examination
    latency: Latency
    test: Scorecard
    mistakes: MistakeReport
    mlflow_run_id: str | None = None
    version: Version | None = None

    @classmethod
    def of(cls, steps: Steps, name: str) -> ModelRun:
        """Collect the results of a run's steps for a model."""
        fitted = steps.result(graph.Fit, name)
        assert isinstance(fitted, TrackedFit)
        return cls(
            name=name,
            fitted=fitted,
            scorecard=steps.result(graph.Evaluate, name),
            examined=steps.result(graph.Examine, name),
            latency=steps.result(graph.Time, name),
            test=steps.result(graph.Test, name),
            mistakes=steps.result(graph.Mistakes, name),
            mlflow_run_id=fitted.mlflow_run_id,
        )

    @property
    def family(self) -> str:
        """The name of the model's family."""
        family: str = self.fitted.record["family"]
        return family


def choose(steps: Steps) -> Verdict:
    """Let the selection policy choose among the models of a run."""
    run = steps.run
    measured = {model: steps.results_for(graph.Select, model) for model in run.config.models}
    verdict: Verdict = select.submit(run, measured).result()
    return verdict


@polarity_task("select")
def select(run: Run, measured: dict[str, Results]) -> Verdict:
    """Apply the selection policy, on validation data only."""
    verdict = graph.Select.decide(run.config, measured)
    get_run_logger().info(verdict.reason)
    return verdict


@polarity_task("record", task_run_name="record-{model.name}")
def record(run: Run, snapshot: Snapshot, splits: Splits, model: ModelRun, tracker: Tracker) -> ModelRun:
    """Log a model's metrics, plots and package to MLflow, and register it once per fit."""
    registry = Registry.open(task=run.config.task_name)
    name, family, key = model.name, model.family, model.fitted.key
    params = run.config.section(name).model_dump(mode="json")
    metrics = {**model.scorecard.metrics, **model.test.metrics}
    fit_record = model.fitted.record
    history = read_history(fit_record)
    plots = draw_candidate(run.folder / name / "plots", model.fitted.packaged, history, model.test.predictions("test"))
    tags = {"fingerprint": key, "data_digest": snapshot.manifest.digest}
    version = registry.find(key)
    if version is not None and model.mlflow_run_id is None:
        run_id = tracker.record_cached(
            name, family=family, original_run_id=version.run_id, params=params, metrics=metrics, tags=tags
        )
    else:
        run_id = model.mlflow_run_id or tracker.start_candidate(name, family=family, params=params)
        figures = {
            "train_seconds": fit_record["train_seconds"],
            "size_bytes": fit_record["size_bytes"],
            "latency_ms_p95": model.latency.p95_ms,
        }
        tracker.tag(run_id, tags)
        tracker.log_metrics(run_id, metrics, figures)
        tracker.log_history(run_id, history)
        tracker.log_artifacts(run_id, plots, to="plots")
        with tempfile.TemporaryDirectory() as scratch:
            learned = learned_hashes(splits, model.fitted.training_rows)
            tracker.log_artifacts(run_id, write_learned(learned, Path(scratch)))
        model_uri = tracker.log_model(run_id, model.fitted.packaged, name=name, tags=tags)
        origin = {LINE_TAG: line_of(run.config), promotion.DIGEST_TAG: model.fitted.digest}
        version = registry.register(
            model_uri,
            run_id=run_id,
            name=name,
            family=family,
            fingerprint=key,
            tags={"data_digest": tags["data_digest"], **origin},
        )
        tracker.finish(run_id)
    tracker.write_id(run.folder / name, run_id, model_version=version.number)
    return replace(model, mlflow_run_id=run_id, version=version)


def provenance_of(run: Run, snapshot: Snapshot, verdict: Verdict, models: Sequence[ModelRun]) -> Provenance | None:
    """What the Bento of the chosen model says about its origin; None if none is chosen."""
    if verdict.selected is None:
        return None
    chosen = chosen_of(verdict, models)
    metrics = {**chosen.scorecard.metrics, **chosen.test.metrics}
    validation = chosen.scorecard.predictions("validation")
    confidence = card_entry(validation.probabilities, validation.labels)
    drift = run.config.watch.drift
    held_out = [validation, chosen.test.predictions("test")]
    words = KnownWords.read(chosen.fitted.packaged / KNOWN_WORDS)
    reference = reference_from(held_out, confidence, words, options=drift, seed=run.config.seed)
    if reference is None:
        get_run_logger().warning(
            "Drift will not be judged: %d held-out tweets are fewer than two windows of %d (watch.drift.window)",
            sum(map(len, held_out)), drift.window,
        )  # fmt: skip
    card = {
        "run_id": run.run_id,
        "parameters": run.config.section(chosen.name).model_dump(mode="json"),
        "metrics": {split: measured.to_dict() for split, measured in metrics.items()},
        CARD_ENTRY: confidence,
        "reason": verdict.reason,
    }
    kept = b"" if reference is None else reference.to_bytes()
    return Provenance(card, snapshot.manifest.digest, run.git.commit, drift_reference=kept)


def chosen_of(verdict: Verdict, models: Sequence[ModelRun]) -> ModelRun:
    """The selected model of a run."""
    return next(model for model in models if model.name == verdict.selected)
