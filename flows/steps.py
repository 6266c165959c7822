"""The steps of the graph as Prefect tasks; each receives the results of the steps it depends on."""

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
from flows.outages import prefect_is_responding, wait_until_back
from flows.progress import FitProgress, noted
from flows.runners import Workers
from polarity.bento.provenance import Provenance, write_provenance
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
    rejected_predictions,
)
from polarity.pipeline.prerequisites import check_prerequisites
from polarity.pipeline.remote_store import open_store
from polarity.pipeline.revision import GitState, git_state
from polarity.pipeline.step import Node, Outcome, Results, Step, perform, recall
from polarity.registry import promotion
from polarity.registry.tracking import Tracker
from polarity.registry.versions import Registry
from polarity.text.origins import OLD

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """One run of a flow that fits models."""

    run_id: str
    folder: Path
    config: Any
    git: GitState
    started: datetime

    def link(self, path: str) -> str:
        """Return the URL at which `make ui` serves a file of the run's folder."""
        return f"{settings().ui_url}/runs/{self.run_id}/{path}"


@dataclass(frozen=True)
class TrackedFit(Fitted):
    """A fit and the id of its MLflow run; None if the fit was found in the store."""

    cached: bool
    mlflow_run_id: str | None


class Steps:
    """Submits the steps of one run with the results of their dependencies, and keeps their results."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._futures: dict[str, PrefectFuture[Any]] = {}
        self._known: dict[str, Any] = {}

    def finish(self, step: type[Step[T]]) -> T:
        """Run a step that is not specific to a model, and wait for it."""
        self._submit(step, None)
        return self.result(step)

    def side_by_side(
        self, *stages: type[Step[Any]], tracker: Tracker | None = None, workers: Workers | None = None
    ) -> None:
        """Run steps for all models in parallel, in sequence for each model, and wait for them.

        Parameters
        ----------
        *stages : type of Step
            In order of dependency.
        tracker : Tracker, optional
            Records the fits; required if `Fit` is among the stages.
        workers : Workers, optional
            Runs the fits; required if `Fit` is among the stages.
        """
        models: Sequence[str] = self.run.config.models
        started = []
        for stage in stages:
            if stage is Fit:
                assert tracker is not None and workers is not None, "Fit needs a tracker and workers"
                started.append([self._fit(model, tracker, workers) for model in models])
            else:
                started.append([self._submit(stage, model) for model in models])
        results(*started)

    def one_by_one(self, step: type[Step[Any]]) -> None:
        """Run a step for one model after another, so that each has the machine to itself."""
        for model in self.run.config.models:
            self._submit(step, model)
            self.result(step, model)

    def package(self, model: str, provenance: Provenance) -> str:
        """Build the Bento of the chosen model, write this run's provenance into it, and return its tag."""
        needed = {Fit.name: self.result(Fit, model)}
        tag: str = build_bento.submit(self.run, model, needed, provenance).result()
        return tag

    def result(self, step: type[Step[T]], model: str | None = None) -> T:
        """Wait for a step and return its result."""
        key = step.key(model)
        if key not in self._known:
            self._known[key] = self._futures[key].result()
        return cast(T, self._known[key])

    def results_for(self, node: type[Node], model: str) -> Results:
        """Return the results that a node needs for a model, by step name."""
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
    """Start a run of a flow that fits models."""
    return Steps(_begin.submit(config).result())


def prepare_tweets(steps: Steps) -> tuple[Snapshot, Acceptance, Splits]:
    """Take the tweets of a run from their source, through both gates, to the splits."""
    for step in PREPARATION:
        steps.finish(step)
    return steps.result(Ingest), steps.result(Accept), steps.result(Prepare)


@contextmanager
def recorded(run: Run, snapshot: Snapshot) -> Iterator[Tracker]:
    """Open the MLflow run of this flow run, and close it even if the block fails."""
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
        key="mlflow-run", link=tracker.link(), link_text="MLflow run", description="The MLflow record of this run"
    )
    try:
        with tracker.heartbeat():
            yield tracker
    except BaseException:
        tracker.close("FAILED")
        raise
    tracker.close("FINISHED")


@polarity_task("begin")
def _begin(config: LearningConfig) -> Run:
    """Check the prerequisites, repair what a killed run left behind, and create the run's folder."""
    for remark in check_prerequisites(config):
        get_run_logger().warning(remark)
    promotion.reconcile(Registry.open(), lambda repair: get_run_logger().warning("Repaired: %s.", repair))
    started = datetime.now(UTC)
    run_id = f"{started:%Y%m%d-%H%M%S}-{config.profile}-{uuid4().hex[:4]}"
    folder = settings().runs_folder / run_id
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.model_dump_json(indent=1) + "\n")
    return Run(run_id, folder, config, git_state(), started)


@polarity_task("step")
def run_step(run: Run, step: type[Step[Any]], needed: Mapping[str, Any], model: str | None) -> Any:
    """Run a step of the graph, unless the store has its result, and publish the result."""
    outcome = perform(step(run.config, needed, model), open_store())
    if show := _SHOWN.get(step):
        show(run, outcome, needed, model)
    return as_cached(outcome.result, cached=outcome.stored.cached)


@polarity_task("package")
def build_bento(run: Run, model: str, needed: Mapping[str, Any], provenance: Provenance) -> str:
    """Build the chosen model's Bento under the candidate name, start it, and send it real requests."""
    outcome = perform(Package(run.config, needed, model), open_store())
    write_provenance(outcome.result, provenance)  # the Bento may be another run's
    return as_cached(outcome.result, cached=outcome.stored.cached)


# One tag for all models: Prefect queries its server for the limit of each set of tags, see docs/decisions.md.
@polarity_task("fit", task_run_name="fit-{model}", limited=False, tags=["fit"])
def fit(run: Run, model: str, splits: Splits, tracker: Tracker) -> TrackedFit:
    """Fit a model in a separate process, unless the store has that fit, and record it in MLflow."""
    log, store = get_run_logger(), open_store()
    step = Fit(run.config, {Prepare.name: splits}, model, FitProgress(model), noted(log, model))
    if found := recall(step, store):
        log.info("%s: nothing its fit depends on has changed; reusing the stored fit", model)
        return as_cached(TrackedFit(found.result.folder, True, None), cached=True)
    log.info("%s: fitting on %d tweets in a separate process", model, splits.rows["train"])
    run_id = tracker.start_candidate(
        model, family=family_of(model).name, params=run.config.section(model).model_dump(mode="json")
    )
    try:
        with tracker.system_metrics(run_id):
            outcome = perform(step, store)
        servers = {"The Prefect server": prefect_is_responding, "MLflow": tracker.is_responding}
        wait_until_back(servers, limit_s=run.config.faults.outage_s, note=noted(log, model))
    except BaseException as error:
        tracker.finish(run_id, "FAILED", message=str(error))
        raise
    return TrackedFit(outcome.result.folder, outcome.stored.cached, run_id)


def _show_snapshot(run: Run, outcome: Outcome[Snapshot], *_: Any) -> None:
    manifest = outcome.result.manifest
    log = get_run_logger()
    log.info("%d tweets from %s", manifest.rows, manifest.source)
    left_out = {
        "could not be read": manifest.unreadable,
        "ignored for their label (data.ignore_labels)": manifest.ignored,
        "not taken (data.limit)": manifest.thinned_out,
    }
    records = (manifest.origins.get(OLD, 0) if manifest.origins else manifest.rows) + sum(left_out.values())
    for reason, count in left_out.items():
        if count:
            log.warning("%d of %d records %s", count, records, reason)
    if manifest.origins:
        log.info("Of them %s", ", ".join(f"{rows:,} {origin}" for origin, rows in manifest.origins.items()))
        for reason, count in manifest.left_out.items():
            log.info("%d recent tweets are left out: %s", count, reason)
        for remark in manifest.remarks:
            log.warning("Recent tweets: %s", remark)


def _show_acceptance(run: Run, outcome: Outcome[Acceptance], *_: Any) -> None:
    """Publish the gate's Data Docs and the quarantine; stop the flow here if the gate refused the data."""
    acceptance = outcome.result
    _show_docs(run, outcome.stored.folder, "raw_tweets")
    shutil.copy(acceptance.quarantine, run.folder / "quarantine.parquet")
    if acceptance.quarantined:
        get_run_logger().warning(
            "%d rows are quarantined; the reasons are in %s", acceptance.quarantined, run.folder / "quarantine.parquet"
        )
    if acceptance.refusal:
        raise DataRejected(acceptance.refusal)


def _show_splits(run: Run, outcome: Outcome[Splits], *_: Any) -> None:
    splits = outcome.result
    shutil.copy(splits.conflicts, run.folder / "conflicts.parquet")
    get_run_logger().info(
        "%s; %d rows are set aside",
        ", ".join(f"{rows} {name}" for name, rows in splits.rows.items()),
        splits.set_aside,
    )


def _show_split_gate(run: Run, outcome: Outcome[Any], *_: Any) -> None:
    _show_docs(run, outcome.stored.folder, "prepared_tweets")


def _show_evaluation(run: Run, outcome: Outcome[Scorecard], _: Results, model: str) -> None:
    _show_docs(run, outcome.stored.folder, f"predictions/{model}")
    figures = outcome.result.metrics["validation"]
    log = get_run_logger()
    log.info(
        "%s on validation: accuracy %.4f, macro-F1 %.4f, log-loss %.4f",
        model, figures.accuracy, figures.macro_f1, figures.log_loss,
    )  # fmt: skip
    # invalid predictions disqualify this candidate, not the others
    for objection in rejected_predictions(outcome.result):
        log.warning("%s cannot be selected: %s", model, objection)


def _show_behaviour(run: Run, outcome: Outcome[Examination], _: Results, model: str) -> None:
    behaviour = outcome.result.behaviour
    get_run_logger().info("%s: behaviour tests: %s", model, behaviour.language)
    for omitted in behaviour.omitted:
        get_run_logger().info("%s: not tested: “%s”, since %s", model, omitted.title, omitted.reason)
    for objection in behaviour.objections:
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
    """Copy a gate's Data Docs to the run's folder, and link them from the Prefect run."""
    shutil.copytree(folder / "data_docs", run.folder / "data_docs" / suite, dirs_exist_ok=True)
    create_link_artifact(
        key=f"data-docs-{suite.replace('/', '-').replace('_', '-')}",
        link=run.link(f"data_docs/{suite}/index.html"),
        link_text=f"Data Docs: {suite}",
        description="The validation results of Great Expectations",
    )
