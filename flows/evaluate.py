"""Evaluate a stored model: `python -m flows.evaluate --model champion --data.path FILE`, or its deployment."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from rich.console import Console
from rich.text import Text

from flows.adapter import polarity_task, translate_errors
from flows.terminal import print_table, run_from_shell
from polarity.config.credentials import without_credentials
from polarity.config.settings import settings
from polarity.evaluation import plots
from polarity.evaluation.labelled_file import LabelledFile, read_labelled
from polarity.evaluation.scorecard import Scorecard, write_scorecard
from polarity.pipeline.config import EvaluateConfig
from polarity.registry.stored_model import StoredModel, find_model


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a stored model on a labelled file, and the folder with the details."""

    model: str
    source: str
    left_out: int
    reasons: dict[str, int]
    metrics: dict[str, Any]
    folder: Path

    def table(self) -> list[dict[str, str]]:
        """Return the metrics as a one-row table, formatted for display."""
        figures = self.metrics
        return [
            {
                "model": self.model,
                "rows": f"{figures['rows']:,}",
                "accuracy": f"{figures['accuracy']:.4f}",
                "95 %": "{:.4f}-{:.4f}".format(*figures["accuracy_interval"]),
                "macro-F1": f"{figures['macro_f1']:.4f}",
                "precision": f"{figures['precision']:.4f}",
                "recall": f"{figures['recall']:.4f}",
                "AUC": "-" if figures["auc"] is None else f"{figures['auc']:.4f}",
                "log-loss": f"{figures['log_loss']:.4f}",
            }
        ]


@flow(
    name="evaluate",
    flow_run_name="evaluate-{config.model_name}",
    description="Evaluate a stored model on a labelled file.",
)
@translate_errors
def evaluate(config: EvaluateConfig) -> Evaluation:
    """Evaluate the champion, or any other stored model, on a labelled file.

    Parameters
    ----------
    config : EvaluateConfig
        The model and the file.
    """
    model = find.submit(config).result()
    folder = settings().runs_folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-evaluate-{uuid4().hex[:4]}"
    tweets = read.submit(config, model, folder).result()
    scorecard = measure.submit(config, model, tweets, folder).result()
    return publish.submit(config, model, tweets, scorecard).result()


@polarity_task("find model")
def find(config: EvaluateConfig) -> StoredModel:
    """Look up the stored model that the configuration names."""
    return find_model(config.model, config.task)


@polarity_task("read tweets")
def read(config: EvaluateConfig, model: StoredModel, folder: Path) -> LabelledFile:
    """Read the rows that have a text and a known label."""
    folder.mkdir(parents=True, exist_ok=True)
    tweets = read_labelled(
        config.data, model.manifest.labels, folder / "tweets.parquet", max_bad_share=config.max_bad_share
    )
    for reason, rows in tweets.reasons.items():
        get_run_logger().warning("%d rows are left out: %s", rows, reason)
    return tweets


@polarity_task("measure")
def measure(config: EvaluateConfig, model: StoredModel, tweets: LabelledFile, folder: Path) -> Scorecard:
    """Predict every row and compute the metrics."""
    return write_scorecard(
        model.folder,
        {"file": tweets.path},
        folder,
        label_names=model.manifest.labels,
        seed=config.seed,
        sliced=["file"],
    )


@polarity_task("publish")
def publish(config: EvaluateConfig, model: StoredModel, tweets: LabelledFile, scorecard: Scorecard) -> Evaluation:
    """Write `evaluation.json` and the plots, and show the figures in the Prefect UI."""
    predictions = {model.title: scorecard.predictions("file")}
    for name, draw in (("confusion_matrix", plots.confusion_matrices), ("calibration", plots.reliability_diagrams)):
        (scorecard.folder / f"{name}.png").write_bytes(plots.to_png(draw(predictions)))
    figures = scorecard.metrics["file"].to_dict()
    source = without_credentials(str(config.data.path))
    evaluation = Evaluation(model.title, source, tweets.left_out, tweets.reasons, figures, scorecard.folder)
    (scorecard.folder / "evaluation.json").write_text(json.dumps(asdict(evaluation), indent=1, default=str) + "\n")
    create_table_artifact(key="evaluation", table=evaluation.table(), description=f"{model.title} on {source}")
    return evaluation


def show_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print the metrics."""
    print_table(console, f"{evaluation.source}, {evaluation.left_out} rows skipped", evaluation.table())
    console.print(Text(f"Predictions, slices and plots are in {evaluation.folder}"), soft_wrap=True)


if __name__ == "__main__":
    run_from_shell(evaluate, EvaluateConfig, prog="python -m flows.evaluate", show=show_evaluation)
