"""The last task of a training run: writes its record and publishes it in the Prefect UI and in MLflow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from flows.adapter import polarity_task
from flows.steps import Run
from flows.tasks import ModelRun
from polarity.bento.dossier import write_dossier
from polarity.bento.provenance import Provenance
from polarity.data.acceptance import Acceptance
from polarity.data.snapshot import Snapshot
from polarity.data.splits import Splits
from polarity.evaluation.evidence import Evidence
from polarity.evaluation.report import write_report
from polarity.evaluation.summary import DataSummary, ModelSummary, RunSummary, VerdictSummary
from polarity.evaluation.verdict import Verdict
from polarity.families.fit import read_history
from polarity.families.registry import family_of
from polarity.inference.package import DOSSIER_PAGE
from polarity.registry.tracking import Tracker


@polarity_task("publish")
def publish(
    run: Run,
    snapshot: Snapshot,
    acceptance: Acceptance,
    splits: Splits,
    models: Sequence[ModelRun],
    verdict: Verdict,
    bento: str | None,
    tracker: Tracker,
    provenance: Provenance | None,
) -> RunSummary:
    """Write summary, verdict, report and dossier, link them from the Prefect run, and log them to MLflow."""
    summary = RunSummary(
        run_id=run.run_id,
        profile=run.config.profile,
        git_commit=run.git.commit,
        git_clean=run.git.clean,
        started=run.started.isoformat(timespec="seconds"),
        seconds=(datetime.now(UTC) - run.started).total_seconds(),
        data=DataSummary(
            source=snapshot.manifest.source,
            digest=snapshot.manifest.digest,
            rows=snapshot.manifest.rows,
            quarantined=acceptance.quarantined + splits.set_aside,
            labels=splits.labels,
        ),
        models=tuple(_summary_of(model) for model in models),
        verdict=VerdictSummary(
            selected=verdict.selected,
            reason=verdict.reason,
            champion_before=verdict.champion_before,
            promoted=verdict.promote and bento is not None,
        ),
        bento=bento,
    )
    for model, figures in zip(models, summary.models, strict=True):
        folder = run.folder / model.name
        metrics = {"train": figures.train, "validation": figures.validation, "test": figures.test}
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
        _evidence(model).write(folder)
    (run.folder / "verdict.json").write_text(json.dumps(verdict.to_dict(), indent=1, default=str) + "\n")
    summary.write(run.folder)
    write_report(run.folder)
    files = [run.folder / name for name in ("summary.json", "verdict.json", "config.json", "report.html")]
    if provenance is not None:
        files += write_dossier(provenance.dossier, run.folder)
    for file in files:
        tracker.log_artifacts(tracker.run_id, file)

    _show(run, summary, tracker)
    get_run_logger().info("The run's record is in %s", run.folder)
    return summary


def _evidence(model: ModelRun) -> Evidence:
    """Collect what the report shows of a model besides its metrics."""
    return Evidence(
        test=model.test.predictions("test"),
        history=read_history(model.fitted.record),
        words=family_of(model.name).telling_words(model.fitted.packaged),
        behaviour=model.examined.behaviour,
        bias=model.examined.bias,
        mistakes=model.mistakes,
    )


def _summary_of(model: ModelRun) -> ModelSummary:
    assert model.mlflow_run_id is not None
    fit, measured = model.fitted.record, model.scorecard.metrics
    return ModelSummary(
        name=model.name,
        family=model.family,
        cached=model.fitted.cached,
        train_seconds=fit["train_seconds"],
        train_rows=fit["train_rows"],
        mlflow_run_id=model.mlflow_run_id,
        size_bytes=fit["size_bytes"],
        latency_ms_p95=model.latency.p95_ms,
        train=measured["train"].to_dict(),
        validation=measured["validation"].to_dict(),
        test=model.test.metrics["test"].to_dict(),
        test_slices=model.test.slices["test"],
    )


def _show(run: Run, summary: RunSummary, tracker: Tracker) -> None:
    create_link_artifact(
        key="report", link=run.link("report.html"), link_text="Report", description="The run on one page"
    )
    links = {"Report": run.link("report.html"), "Summary": run.link("summary.json"), "MLflow run": tracker.link()}
    if summary.verdict.selected:
        create_link_artifact(
            key="dossier",
            link=run.link(DOSSIER_PAGE),
            link_text="Dossier",
            description=f"What {summary.verdict.selected} is, what it learned from and how it was tested",
        )
    create_table_artifact(key="comparison", table=summary.table(), description="The candidates side by side")
    create_markdown_artifact(key="summary", markdown=summary.markdown(links), description="The run on one page")
    create_link_artifact(key="run-folder", link=run.link(""), link_text="The run's folder")
    if summary.verdict.selected:
        create_image_artifact(
            key="confusion-matrix",
            image_url=run.link(f"{summary.verdict.selected}/plots/confusion_matrix.png"),
            description=f"Confusion matrix of {summary.verdict.selected} on the test tweets",
        )
