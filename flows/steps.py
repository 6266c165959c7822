"""The steps of the graph as Prefect tasks: each gets the results of those that it needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact
from prefect.futures import PrefectFuture
from prefect.tasks import exponential_backoff

from flows.adapter import as_cached, polarity_task, results
from flows.progress import FitProgress
from flows.runners import Workers
from polarity.config.settings import settings
from polarity.data.acceptance import Acceptance
from polarity.data.snapshot import Snapshot
from polarity.data.splits import Splits
from polarity.errors import DataRejected
from polarity.evaluation.examination import Examination
from polarity.evaluation.scorecard import Scorecard
from polarity.families.registry import family_of
from polarity.pipeline.config import LearningConfig
from polarity.pipeline.graph import (
    PREPARATION,
    Accept,
    CheckSplits,
    Evaluate,
    Examine,
    Fit,
    Fitted,
    Ingest,
    Package,
    Prepare,
    Provenance,
    refused_predictions,
)
from polarity.pipeline.prerequisites import check_prerequisites
from polarity.pipeline.remote_store import open_store
from polarity.pipeline.revision import GitState, git_state
from polarity.pipeline.step import Node, Outcome, Results, Step, perform, recall
from polarity.registry import promotion
from polarity.registry.tracking import Tracker
from polarity.registry.versions import Registry

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """One run of a flow that learns."""

    run_id: str
    folder: Path
    config: Any
    git: GitState
    started: datetime

    def link(self, path: str) -> str:
        """Where `make ui` serves a file of the run's folder."""
        return f"{settings().ui_url}/runs/{self.run_id}/{path}"


@dataclass(frozen=True)
class TrackedFit(Fitted):
    """A fit with its run in MLflow; none if it was found in the store."""

    cached: bool
    mlflow_run_id: str | None


class Steps:
    """The steps of one run: submitted with the results of those that they need, which it remembers."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._futures: dict[str, PrefectFuture[Any]] = {}
        self._known: dict[str, Any] = {}

    def finish(self, step: type[Step[T]]) -> T:
        """Run a step that is not about a model, and wait for it."""
        self._submit(step, None)
        return self.result(step)

    def side_by_side(
        self, *stages: type[Step[Any]], tracker: Tracker | None = None, workers: Workers | None = None
    ) -> None:
        """Run steps for all models, each model's one after another, and wait for them.

        Parameters
        ----------
        *stages : type of Step
            In the order in which they need one another.
        tracker : Tracker, optional
            Records the fits.
        workers : Workers, optional
            Take the fits.
        """
        models: Sequence[str] = self.run.config.models
        started = []
        for stage in stages:
            if stage is Fit:
                assert tracker is not None and workers is not None, "fits are recorded, and may run elsewhere"
                started.append([self._fit(model, tracker, workers) for model in models])
            else:
                started.append([self._submit(stage, model) for model in models])
        results(*started)

    def one_by_one(self, step: type[Step[Any]]) -> None:
        """Run a step for one model after another, so that each has the machine for itself."""
        for model in self.run.config.models:
            self._submit(step, model)
            self.result(step, model)

    def package(self, model: str, provenance: Provenance) -> str:
        """Build the Bento of the chosen model; its tag."""
        needed = {Fit.name: self.result(Fit, model)}
        tag: str = build_bento.submit(self.run, model, needed, provenance).result()
        return tag

    def result(self, step: type[Step[T]], model: str | None = None) -> T:
        """What a step made, once it has ended."""
        key = step.key(model)
        if key not in self._known:
            self._known[key] = self._futures[key].result()
        return cast(T, self._known[key])

    def results_for(self, node: type[Node], model: str) -> Results:
        """What the steps that a node needs made for a model, by their names."""
        return {need.name: self.result(cast(type[Step[Any]], need), model) for need in node.needs}

    def _submit(self, step: type[Step[Any]], model: str | None) -> PrefectFuture[Any]:
        key = step.key(model)
        task = run_step.with_options(name=step.name, task_run_name=key)
        self._futures[key] = task.submit(self.run, step, self._needed(step, model), model)
        return self._futures[key]

    def _fit(self, model: str, tracker: Tracker, workers: Workers) -> PrefectFuture[TrackedFit]:
        faults = self.run.config.faults
        task = fit.with_options(
            retries=faults.retries,
            retry_delay_seconds=exponential_backoff(faults.retry_delay_s) if faults.retry_delay_s else 0,
        )
        arguments = (self.run, model, self.result(Prepare), tracker)
        future = workers.submit(task, *arguments, gpu=family_of(model).traits.gpu)
        self._futures[Fit.key(model)] = future
        return future

    def _needed(self, step: type[Step[Any]], model: str | None) -> dict[str, Any]:
        return {need.name: self._futures[need.key(model)] for need in step.needs}


def begin(config: LearningConfig) -> Steps:
    """Begin a run of a flow that learns."""
    return Steps(_begin.submit(config).result())


def prepare_tweets(steps: Steps) -> tuple[Snapshot, Acceptance, Splits]:
    """Take the tweets of a run from the source to the splits, through both gates."""
    for step in PREPARATION:
        steps.finish(step)
    return steps.result(Ingest), steps.result(Accept), steps.result(Prepare)


@contextmanager
def recorded(run: Run, snapshot: Snapshot) -> Iterator[Tracker]:
    """The MLflow run of this flow run, ended whatever happens."""
    tracker = Tracker.open(
        run.run_id,
        params=run.config.model_dump(mode="json"),
        tags={
            "data_digest": snapshot.manifest.digest,
            "git_commit": run.git.commit,
            "git_clean": str(run.git.clean).lower(),
            "run_folder": str(run.folder),
        },
    )
    create_link_artifact(
        key="mlflow-run", link=tracker.link(), link_text="MLflow run", description="The record of this run"
    )
    try:
        yield tracker
    except BaseException:
        tracker.close("FAILED")
        raise
    tracker.close("FINISHED")


@polarity_task("begin")
def _begin(config: LearningConfig) -> Run:
    """Make the run's folder, see that all the run needs can be had, and mend what a killed run left."""
    for remark in check_prerequisites(config):
        get_run_logger().warning(remark)
    if mended := promotion.reconcile(Registry.open()):
        get_run_logger().warning("Mended: %s.", mended)
    started = datetime.now(UTC)
    run_id = f"{started:%Y%m%d-%H%M%S}-{config.profile}-{uuid4().hex[:4]}"
    folder = settings().runs_folder / run_id
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.model_dump_json(indent=1) + "\n")
    return Run(run_id, folder, config, git_state(), started)


@polarity_task("step")
def run_step(run: Run, step: type[Step[Any]], needed: Mapping[str, Any], model: str | None) -> Any:
    """Run a step of the graph, unless the store has its result, and show what it made."""
    outcome = perform(step(run.config, needed, model), open_store())
    if show := _SHOWN.get(step):
        show(run, outcome, needed, model)
    return as_cached(outcome.result, cached=outcome.stored.cached)


@polarity_task("package")
def build_bento(run: Run, model: str, needed: Mapping[str, Any], provenance: Provenance) -> str:
    """Build the chosen model's Bento under a candidate's name, start it, and put real requests to it."""
    step = Package(run.config, needed, model)
    step.provenance = provenance
    outcome = perform(step, open_store())
    return as_cached(outcome.result, cached=outcome.stored.cached)


# One tag for all models: Prefect asks its server for every set of tags whether it is limited, see docs/decisions.md.
@polarity_task("fit", task_run_name="fit-{model}", limited=False, tags=["fit"])
def fit(run: Run, model: str, splits: Splits, tracker: Tracker) -> TrackedFit:
    """Fit a model in a process of its own, unless the store has that fit, and record it in MLflow."""
    log, store = get_run_logger(), open_store()
    step = Fit(run.config, {Prepare.name: splits}, model, FitProgress(model))
    if found := recall(step, store):
        log.info("%s: nothing that its fit depends on has changed; it is not trained again", model)
        return as_cached(TrackedFit(found.result.folder, True, None), cached=True)
    log.info("%s: fitting on %d tweets in a process of its own", model, splits.rows["train"])
    run_id = tracker.start_candidate(
        model, family=family_of(model).name, params=run.config.section(model).model_dump(mode="json")
    )
    try:
        with tracker.system_metrics(run_id):
            outcome = perform(step, store)
    except BaseException as error:
        tracker.finish(run_id, "FAILED", message=str(error))
        raise
    return TrackedFit(outcome.result.folder, outcome.stored.cached, run_id)


def _show_snapshot(run: Run, made: Outcome[Snapshot], *_: Any) -> None:
    manifest = made.result.manifest
    get_run_logger().info("%d tweets from %s", manifest.rows, manifest.source)


def _show_acceptance(run: Run, made: Outcome[Acceptance], *_: Any) -> None:
    """Show the gate's Data Docs and the quarantine; a set that is not fit stops the flow here."""
    acceptance = made.result
    _show_docs(run, made.stored.folder, "raw_tweets")
    shutil.copy(acceptance.quarantine, run.folder / "quarantine.parquet")
    if acceptance.quarantined:
        get_run_logger().warning(
            "%d rows are quarantined, with reasons: %s", acceptance.quarantined, run.folder / "quarantine.parquet"
        )
    if acceptance.refusal:
        raise DataRejected(acceptance.refusal)


def _show_splits(run: Run, made: Outcome[Splits], *_: Any) -> None:
    splits = made.result
    shutil.copy(splits.conflicts, run.folder / "conflicts.parquet")
    get_run_logger().info(
        "%s; %d rows are set aside", ", ".join(f"{rows} {name}" for name, rows in splits.rows.items()), splits.set_aside
    )


def _show_split_gate(run: Run, made: Outcome[Any], *_: Any) -> None:
    _show_docs(run, made.stored.folder, "prepared_tweets")


def _show_evaluation(run: Run, made: Outcome[Scorecard], _: Results, model: str) -> None:
    _show_docs(run, made.stored.folder, f"predictions/{model}")
    figures = made.result.metrics["validation"]
    log = get_run_logger()
    log.info(
        "%s on validation: accuracy %.4f, macro-F1 %.4f, log-loss %.4f",
        model, figures.accuracy, figures.macro_f1, figures.log_loss,
    )  # fmt: skip
    # predictions that are none speak against this candidate, not against the others
    for objection in refused_predictions(made.result):
        log.warning("%s cannot be chosen: %s", model, objection)


def _show_behaviour(run: Run, made: Outcome[Examination], _: Results, model: str) -> None:
    for objection in made.result.behaviour.objections:
        get_run_logger().warning("%s cannot be promoted: %s", model, objection)


_SHOWN: Mapping[type[Step[Any]], Callable[..., None]] = {
    Ingest: _show_snapshot,
    Accept: _show_acceptance,
    Prepare: _show_splits,
    CheckSplits: _show_split_gate,
    Evaluate: _show_evaluation,
    Examine: _show_behaviour,
}


def _show_docs(run: Run, folder: Path, suite: str) -> None:
    """Keep a gate's Data Docs in the run's folder, and link them from the Prefect run."""
    shutil.copytree(folder / "data_docs", run.folder / "data_docs" / suite, dirs_exist_ok=True)
    create_link_artifact(
        key=f"data-docs-{suite.replace('/', '-').replace('_', '-')}",
        link=run.link(f"data_docs/{suite}/index.html"),
        link_text=f"Data Docs: {suite}",
        description="What Great Expectations found",
    )
