"""Import true labels: `python -m flows.feedback --data.path FILE`, or its deployment."""

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from rich.console import Console
from rich.text import Text

from flows.adapter import polarity_task, translate_errors
from flows.terminal import print_table, run_from_shell
from polarity.pipeline.config import FeedbackConfig
from polarity.record.options import RecordOptions
from polarity.record.store import opened_record
from polarity.watch.label_file import LabelImport, import_labels


@flow(
    name="feedback",
    flow_run_name="feedback-{config.file_name}",
    description="Import true labels of recorded predictions from a file.",
)
@translate_errors
def feedback(config: FeedbackConfig) -> LabelImport:
    """Store the labels of a file for the predictions that its rows name by id, or by text.

    Parameters
    ----------
    config : FeedbackConfig
        The file and how to read it. The record is the one that POLARITY_PREDICTION_LOG names.
    """
    return store_labels.submit(config).result()


@polarity_task("store labels")
def store_labels(config: FeedbackConfig) -> LabelImport:
    """Read the file and store its labels; log what is left out."""
    with opened_record(RecordOptions.read_enabled()) as store:
        done = import_labels(config.data, store, config.labels, "review" if config.review else "import")
    for reason, rows in done.left_out.most_common():
        get_run_logger().warning("%d rows are left out (the first is row %d): %s", rows, done.examples[reason], reason)
    create_table_artifact(key="feedback", table=table(done), description=f"Labels from {done.source}")
    return done


def table(done: LabelImport) -> list[dict[str, str]]:
    """The rows of the file by what became of them; they add up."""
    fates = {"stored": done.stored, "already known": done.known, **dict(done.left_out.most_common())}
    return [
        *({"outcome": fate, "rows": f"{rows:,}"} for fate, rows in fates.items()),
        {"outcome": "in all", "rows": f"{done.rows:,}"},
    ]


def show_import(console: Console, done: LabelImport) -> None:
    """Print the counts."""
    print_table(console, "Labels", table(done))
    console.print(
        Text(f"{done.predictions:,} predictions got a label from {done.source}, by {done.matched_by}."), soft_wrap=True
    )


if __name__ == "__main__":
    run_from_shell(feedback, FeedbackConfig, prog="python -m flows.feedback", show=show_import)
