"""Score a file or a folder of tweets: `python -m flows.score --data.path FILE`, or the deployment `score`."""

import time
from pathlib import Path
from urllib.parse import quote

from prefect import flow, get_run_logger
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from rich.console import Console
from rich.text import Text

from flows import runners
from flows.adapter import polarity_task, translate_errors
from flows.terminal import print_table, run_from_shell
from polarity.config.settings import settings
from polarity.pipeline.config import ScoreConfig
from polarity.registry.stored_model import StoredModel, find_model
from polarity.scoring import scoring
from polarity.scoring.plot import PLOT_FILE, write_plot
from polarity.scoring.record import ScoringSummary, write_summary
from polarity.scoring.scoring import Scoring
from polarity.scoring.tally import Tally

REPORT_EVERY_S = 10.0


@flow(
    name="score",
    flow_run_name="score-{config.model_name}",
    description="Score a file or a folder of tweets with a stored model.",
)
@translate_errors
def score(config: ScoreConfig) -> ScoringSummary:
    """Score tweets in shards; running the same command again resumes an interrupted run.

    Parameters
    ----------
    config : ScoreConfig
        The tweets and the model.
    """
    model = find.submit(config).result()
    opened = open_scoring.submit(config, model).result()
    folder = score_shards.submit(opened).result()
    return publish.submit(folder).result()


@polarity_task("find model")
def find(config: ScoreConfig) -> StoredModel:
    """Look up the stored model that the configuration names."""
    return find_model(config.model, config.task)


@polarity_task("open scoring")
def open_scoring(config: ScoreConfig, model: StoredModel) -> Scoring:
    """Inspect the tweets, and check that the output folder is unused or belongs to this same scoring."""
    opened = scoring.open_scoring(config, model)
    for remark in opened.remarks():
        get_run_logger().warning(remark)
    return opened


@polarity_task("score shards")
def score_shards(opened: Scoring) -> Path:
    """Score the remaining shards, in local processes or on Dask workers."""
    log = get_run_logger()
    log.info("Scoring with %s, writing to %s", opened.model.title, opened.folder)
    last_report = time.monotonic()

    def report(so_far: Tally) -> None:
        nonlocal last_report
        if time.monotonic() - last_report > REPORT_EVERY_S:
            last_report = time.monotonic()
            log.info("%d tweets scored", so_far.rows)

    with runners.pool(opened.config, opened.workers) as pool:
        summary = write_summary(opened, scoring.score(opened, report, pool))
    write_plot(summary)
    return Path(summary.folder)


@polarity_task("publish")
def publish(folder: Path) -> ScoringSummary:
    """Publish the counts in the Prefect UI."""
    summary = ScoringSummary.read(folder)
    create_table_artifact(key="sentiments", table=summary.table(), description=f"{summary.source} by {summary.model}")
    create_markdown_artifact(key="scores", markdown=summary.markdown(), description="The scores on one page")
    runs = settings().runs_folder
    if folder.is_relative_to(runs):
        url = f"{settings().ui_url}/runs/{quote(folder.relative_to(runs).as_posix())}/{PLOT_FILE}"
        create_image_artifact(key="sentiment-by-day", image_url=url, description="Sentiment by day and by hashtag")
    return summary


def show_scores(console: Console, summary: ScoringSummary) -> None:
    """Print the counts."""
    print_table(console, f"{summary.source}, {summary.scored:,} of {summary.rows:,} rows scored", summary.table())
    console.print(Text(f"The scores, the summary and the plot are in {summary.folder}"), soft_wrap=True)


if __name__ == "__main__":
    run_from_shell(score, ScoreConfig, prog="python -m flows.score", show=show_scores)
