"""The tasks of the training flow: each a step of `polarity.steps`, told to Prefect and to MLflow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact
from prefect.futures import PrefectFuture
from prefect.tasks import exponential_backoff

from flows.progress import FitProgress
from flows.runners import Workers
from flows.step import outcome, reuse, step
from polarity import promotion, selection, steps
from polarity.config import TrainConfig
from polarity.data.acceptance import Acceptance, read_acceptance
from polarity.data.gates import GateResult
from polarity.data.snapshot import Snapshot, read_snapshot
from polarity.data.splits import Splits, read_splits
from polarity.evaluation.candidate_plots import draw_candidate
from polarity.evaluation.evidence import Evidence
from polarity.evaluation.mistakes import MistakeReport
from polarity.evaluation.predictions import Predictions
from polarity.evaluation.scorecard import Scorecard, write_scorecard
from polarity.models.fit import read_history
from polarity.packaging import bento_store as bento
from polarity.prerequisites import check_prerequisites
from polarity.registry import Registry, Version
from polarity.revision import GitState, git_state
from polarity.sections import FAMILY_OF, ModelName
from polarity.selection import Verdict
from polarity.serving.package import ModelManifest
from polarity.settings import settings
from polarity.steps import Fitted
from polarity.store import open_store
from polarity.tracking import Tracker


@dataclass(frozen=True)
class Run:
    """One run of the training flow."""

    run_id: str
    folder: Path
    config: TrainConfig
    git: GitState
    started: datetime

    def link(self, path: str) -> str:
        """Where `make ui` serves a file of the run's folder."""
        return f"{settings().ui_url}/runs/{self.run_id}/{path}"


@dataclass(frozen=True)
class Candidate:
    """A fitted model on its way through the run; what is not known yet is none."""

    name: ModelName
    fitted: Fitted
    cached: bool
    mlflow_run_id: str | None
    scorecard: Scorecard | None = None
    objections: tuple[str, ...] = ()
    latency_ms_p95: float = float("inf")
    examined: Evidence | None = None
    test: Scorecard | None = None
    mistakes: MistakeReport | None = None
    version: Version | None = None

    @property
    def family(self) -> str:
        return FAMILY_OF[self.name]


@step("begin")
def begin(config: TrainConfig) -> Run:
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


@step("ingest")
def ingest(run: Run) -> Snapshot:
    """Source -> snapshot."""
    stored = reuse(steps.ingest_work(run.config))
    snapshot = read_snapshot(stored.folder)
    get_run_logger().info("%d tweets from %s", snapshot.manifest.rows, snapshot.manifest.source)
    return outcome(snapshot, stored)


@step("gate raw tweets")
def gate_raw_tweets(run: Run, snapshot: Snapshot) -> Acceptance:
    """Snapshot -> accepted rows; the bad ones are quarantined, a set that is not fit stops the flow."""
    stored = reuse(steps.accept_work(snapshot, run.config))
    acceptance = read_acceptance(stored.folder)
    _show_docs(run, stored.folder, "raw_tweets")
    shutil.copy(acceptance.quarantine, run.folder / "quarantine.parquet")
    if acceptance.quarantined:
        get_run_logger().warning(
            "%d rows are quarantined, with reasons: %s", acceptance.quarantined, run.folder / "quarantine.parquet"
        )
    _ = acceptance.accepted  # raises if the set was refused
    return outcome(acceptance, stored)


@step("prepare")
def prepare(run: Run, acceptance: Acceptance) -> Splits:
    """Accepted rows -> train, validation and test."""
    stored = reuse(steps.prepare_work(acceptance.accepted, run.config))
    splits = read_splits(stored.folder)
    shutil.copy(splits.conflicts, run.folder / "conflicts.parquet")
    get_run_logger().info(
        "%s; %d rows are set aside", ", ".join(f"{rows} {name}" for name, rows in splits.rows.items()), splits.set_aside
    )
    return outcome(splits, stored)


@step("gate prepared tweets")
def gate_prepared_tweets(run: Run, splits: Splits) -> None:
    """Stop the flow unless the splits are complete and do not leak."""
    stored = reuse(steps.check_splits_work(splits, run.config))
    _show_docs(run, stored.folder, "prepared_tweets")
    return outcome(None, stored)


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


def fit(run: Run, splits: Splits, model: ModelName, tracker: Tracker, workers: Workers) -> PrefectFuture[Candidate]:
    """Start the fit of one model beside the others; a network keeps a GPU to itself where workers declare some."""
    faults = run.config.faults
    task = _fit.with_options(
        retries=faults.retries,
        retry_delay_seconds=exponential_backoff(faults.retry_delay_s) if faults.retry_delay_s else 0,
    )
    return workers.submit(task, run, splits, model, tracker, gpu=FAMILY_OF[model] != "logistic")


# One tag for all models: Prefect asks its server for every set of tags whether it is limited, see docs/decisions.md.
@step("fit", task_run_name="fit-{model}", limited=False, tags=["fit"])
def _fit(run: Run, splits: Splits, model: ModelName, tracker: Tracker) -> Candidate:
    log = get_run_logger()
    work = steps.fit_work(splits, run.config, model, FitProgress(model))
    if stored := open_store().recall(work.fingerprint):
        log.info("%s: nothing that its fit depends on has changed; it is not trained again", model)
        return outcome(Candidate(model, Fitted(stored.folder, stored.key), True, None), stored)
    log.info("%s: fitting on %d tweets in a process of its own", model, splits.rows["train"])
    run_id = tracker.start_candidate(
        model, family=FAMILY_OF[model], params=run.config.section(model).model_dump(mode="json")
    )
    try:
        with tracker.system_metrics(run_id):
            stored = reuse(work)
    except BaseException as error:
        tracker.finish(run_id, "FAILED", message=str(error))
        raise
    return Candidate(model, Fitted(stored.folder, stored.key), stored.cached, run_id)


@step("evaluate", task_run_name="evaluate-{candidate.name}")
def evaluate(run: Run, splits: Splits, candidate: Candidate) -> Candidate:
    """Measure the packaged model on train and validation; gate its predictions."""
    stored = reuse(steps.evaluate_work(candidate.fitted, splits, run.config, on=("train", "validation")))
    _show_docs(run, stored.folder, f"predictions/{candidate.name}")
    scorecard = Scorecard(stored.folder, splits.labels)
    figures = scorecard.metrics["validation"]
    get_run_logger().info(
        "%s on validation: accuracy %.4f, macro-F1 %.4f, log-loss %.4f",
        candidate.name, figures.accuracy, figures.macro_f1, figures.log_loss,
    )  # fmt: skip
    # predictions that are none speak against this candidate, not against the others
    failures = GateResult.read(stored.folder / steps.GATE_FILE).failures
    objections = tuple(f"its predictions were refused: {check.message}" for check in failures)
    for objection in objections:
        get_run_logger().warning("%s cannot be chosen: %s", candidate.name, objection)
    return outcome(replace(candidate, scorecard=scorecard, objections=objections), stored)


@step("examine", task_run_name="examine-{candidate.name}")
def examine(run: Run, splits: Splits, candidate: Candidate) -> Candidate:
    """Put the behaviour tests to the packaged model; below a limit it cannot be promoted."""
    stored = reuse(steps.examine_work(candidate.fitted, run.config))
    evidence = Evidence.read(stored.folder, splits.labels)
    found = evidence.behaviour.objections if evidence.behaviour else ()
    for objection in found:
        get_run_logger().warning("%s cannot be promoted: %s", candidate.name, objection)
    examined = replace(candidate, examined=evidence, objections=(*candidate.objections, *found))
    return outcome(examined, stored)


@step("measure latency", task_run_name="measure-latency-{candidate.name}")
def measure_latency(run: Run, splits: Splits, candidate: Candidate) -> Candidate:
    """Time one text a call, while no fit runs."""
    stored = reuse(steps.time_work(candidate.fitted, splits, run.config))
    return outcome(replace(candidate, latency_ms_p95=steps.read_latency(stored.folder)["p95_ms"]), stored)


@step("select")
def select(run: Run, candidates: Sequence[Candidate]) -> Verdict:
    """Let the policy choose, on validation alone."""
    verdict = selection.select(
        [
            selection.Candidate(
                name=candidate.name,
                family=candidate.family,
                latency_ms_p95=candidate.latency_ms_p95,
                size_bytes=candidate.fitted.record["size_bytes"],
                validation=_card(candidate).predictions("validation"),
                objections=candidate.objections,
            )
            for candidate in candidates
        ],
        run.config.select,
        seed=run.config.seed,
    )
    get_run_logger().info(verdict.reason)
    return verdict


@step("test", task_run_name="test-{candidate.name}")
def test(run: Run, splits: Splits, candidate: Candidate) -> Candidate:
    """Measure on the test split: for the record and for the comparison with the champion, never for the choice."""
    stored = reuse(steps.evaluate_work(candidate.fitted, splits, run.config, on=("test",)))
    return outcome(replace(candidate, test=Scorecard(stored.folder, splits.labels)), stored)


@step("find mistakes", task_run_name="find-mistakes-{candidate.name}")
def find_mistakes(splits: Splits, candidate: Candidate) -> Candidate:
    """The most confident errors on the test tweets, with the words that drove them, and labels that look wrong."""
    assert candidate.test is not None
    stored = reuse(steps.mistakes_work(candidate.fitted, candidate.test, splits))
    mistakes = Evidence.read(stored.folder, splits.labels).mistakes
    return outcome(replace(candidate, mistakes=mistakes), stored)


@step("record", task_run_name="record-{candidate.name}")
def record(run: Run, snapshot: Snapshot, candidate: Candidate, tracker: Tracker) -> Candidate:
    """Write the candidate's figures, plots and model to MLflow and register it, once per fit."""
    assert candidate.scorecard is not None and candidate.test is not None
    registry = Registry.open()
    name, family, key = candidate.name, candidate.family, candidate.fitted.key
    params = run.config.section(name).model_dump(mode="json")
    metrics = {**candidate.scorecard.metrics, **candidate.test.metrics}
    fit_record = candidate.fitted.record
    plots = draw_candidate(
        run.folder / name / "plots",
        candidate.fitted.packaged,
        read_history(fit_record),
        candidate.test.predictions("test"),
    )
    tags = {"fingerprint": key, "data_digest": snapshot.manifest.digest}
    version = registry.find(key)
    if version is not None and candidate.mlflow_run_id is None:
        run_id = tracker.record_cached(
            name, family=family, original_run_id=version.run_id, params=params, metrics=metrics, tags=tags
        )
    else:
        run_id = candidate.mlflow_run_id or tracker.start_candidate(name, family=family, params=params)
        figures = {
            "train_seconds": fit_record["train_seconds"],
            "size_bytes": fit_record["size_bytes"],
            "latency_ms_p95": candidate.latency_ms_p95,
        }
        tracker.tag(run_id, tags)
        tracker.log_metrics(run_id, metrics, figures)
        tracker.log_history(run_id, read_history(fit_record))
        tracker.log_artifacts(run_id, plots, to="plots")
        model_uri = tracker.log_model(run_id, candidate.fitted.packaged, name=name, tags=tags)
        version = registry.register(
            model_uri,
            run_id=run_id,
            name=name,
            family=family,
            fingerprint=key,
            tags={"data_digest": tags["data_digest"]},
        )
        tracker.finish(run_id)
    tracker.write_id(run.folder / name, run_id, model_version=version.number)
    return replace(candidate, mlflow_run_id=run_id, version=version)


@step("compare with champion")
def compare_with_champion(run: Run, splits: Splits, verdict: Verdict, candidates: Sequence[Candidate]) -> Verdict:
    """Hold the chosen candidate against the champion on the same test tweets."""
    champion = Registry.open().champion()
    if verdict.selected is None or champion is None:
        return verdict
    chosen = _chosen(verdict, candidates)
    assert chosen.version is not None and chosen.test is not None
    if chosen.version.number == champion.number:
        reason = f"{verdict.reason} It is the champion already."
        return replace(verdict, promote=False, champion_before=str(champion), reason=reason)
    verdict = selection.compare_with_champion(
        verdict,
        chosen.test.predictions("test"),
        champion_name=str(champion),
        champion=_predictions_of(champion, run, splits, candidates),
        policy=run.config.select,
        seed=run.config.seed,
    )
    get_run_logger().info(verdict.reason)
    return verdict


def _predictions_of(champion: Version, run: Run, splits: Splits, candidates: Sequence[Candidate]) -> Predictions | None:
    """What the champion predicts for the test tweets; none if it knows other classes."""
    for candidate in candidates:
        if candidate.version == champion and candidate.test is not None:
            return candidate.test.predictions("test")
    packaged = Registry.open().packaged(champion)
    if ModelManifest.read(packaged).labels != splits.labels:
        return None
    scorecard = write_scorecard(
        packaged,
        {"test": splits.path("test")},
        run.folder / "champion",
        label_names=splits.labels,
        seed=run.config.seed,
    )
    return scorecard.predictions("test")


@step("package")
def package(run: Run, snapshot: Snapshot, verdict: Verdict, candidates: Sequence[Candidate]) -> str | None:
    """Build the chosen model's Bento under a candidate's name, start it, and put real requests to it."""
    if verdict.selected is None:
        return None
    chosen = _chosen(verdict, candidates)
    assert chosen.scorecard is not None and chosen.test is not None
    work = steps.package_work(
        chosen.fitted,
        card={
            "run_id": run.run_id,
            "parameters": run.config.section(chosen.name).model_dump(mode="json"),
            "metrics": {split: m.to_dict() for split, m in {**chosen.scorecard.metrics, **chosen.test.metrics}.items()},
            "reason": verdict.reason,
        },
        data_digest=snapshot.manifest.digest,
        git_commit=run.git.commit,
    )
    store = open_store()
    if (stored := store.recall(work.fingerprint)) and not bento.exists(steps.read_bento(stored.folder)):
        store.forget(work.fingerprint)
    stored = reuse(work)
    return outcome(steps.read_bento(stored.folder), stored)


@step("promote")
def promote(verdict: Verdict, candidates: Sequence[Candidate], candidate_bento: str | None) -> str | None:
    """Move the alias `champion` and `sentiment:latest` to the chosen model, if the verdict says so."""
    if verdict.selected is None or candidate_bento is None:
        return None
    if not verdict.promote:
        champion = Registry.open().champion()
        return bento.promoted_tag(champion.bento) if champion and champion.bento else None
    version = _chosen(verdict, candidates).version
    assert version is not None
    promoted = promotion.promote(Registry.open(), version, candidate_bento)
    get_run_logger().info("%s is the champion; sentiment:latest is %s", promoted.champion, promoted.bento)
    return promoted.bento


def _chosen(verdict: Verdict, candidates: Sequence[Candidate]) -> Candidate:
    return next(candidate for candidate in candidates if candidate.name == verdict.selected)


def _card(candidate: Candidate) -> Scorecard:
    assert candidate.scorecard is not None, f"{candidate.name} has not been evaluated"
    return candidate.scorecard


def _show_docs(run: Run, folder: Path, suite: str) -> None:
    """Keep a gate's Data Docs in the run's folder, and link them from the Prefect run."""
    shutil.copytree(folder / "data_docs", run.folder / "data_docs" / suite, dirs_exist_ok=True)
    create_link_artifact(
        key=f"data-docs-{suite.replace('/', '-').replace('_', '-')}",
        link=run.link(f"data_docs/{suite}/index.html"),
        link_text=f"Data Docs: {suite}",
        description="What Great Expectations found",
    )
