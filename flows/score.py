"""Score a file or a folder of tweets: `python -m flows.score --data.path FILE`, or the deployment `score`."""

import time
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from rich.console import Console

from flows import runners
from flows.step import in_words, step
from flows.terminal import print_table, run_from_shell
from polarity.config import ScoreConfig
from polarity.scoring import scoring
from polarity.scoring.record import PLOT_FILE, ScoringSummary, write_summary
from polarity.scoring.scoring import Scoring
from polarity.scoring.tally import Tally
from polarity.settings import settings
from polarity.stored_model import StoredModel, find_model

REPORT_EVERY_S = 10.0


@flow(
    name="score",
    flow_run_name="score-{config.model_name}",
    description="Score a file or a folder of tweets with a stored model.",
)
@in_words
def score(config: ScoreConfig) -> ScoringSummary:
    """Score tweets in shards; the same again goes on where a killed run stopped.

    Parameters
    ----------
    config : ScoreConfig
        Which tweets, and with which model.
    """
    model = find.submit(config).result()
    planned = plan.submit(config, model).result()
    folder = score_shards.submit(planned).result()
    return publish.submit(folder).result()


@step("find model")
def find(config: ScoreConfig) -> StoredModel:
    """The stored model that the configuration names."""
    return find_model(config.model)


@step("plan")
def plan(config: ScoreConfig, model: StoredModel) -> Scoring:
    """Look at the tweets; see that the output folder is free, or of this very scoring."""
    return scoring.plan(config, model)


@step("score shards")
def score_shards(planned: Scoring) -> Path:
    """Score what is not scored yet, in processes of their own or on Dask workers."""
    log = get_run_logger()
    log.info("%s scores into %s", planned.model.title, planned.folder)
    told = time.monotonic()

    def listen(so_far: Tally) -> None:
        nonlocal told
        if time.monotonic() - told > REPORT_EVERY_S:
            told = time.monotonic()
            log.info("%d tweets are scored", so_far.rows)

    with runners.pool(planned.config, planned.workers) as pool:
        return Path(write_summary(planned, scoring.score(planned, listen, pool)).folder)


@step("publish")
def publish(folder: Path) -> ScoringSummary:
    """Show the counts in the Prefect UI."""
    summary = ScoringSummary.read(folder)
    create_table_artifact(key="sentiments", table=summary.table(), description=f"{summary.source} by {summary.model}")
    create_markdown_artifact(key="scores", markdown=summary.markdown(), description="The scores in a page")
    runs = settings().runs_folder
    if folder.is_relative_to(runs):
        url = f"{settings().ui_url}/runs/{folder.relative_to(runs).as_posix()}/{PLOT_FILE}"
        create_image_artifact(key="sentiment-by-day", image_url=url, description="Sentiment by day and by hashtag")
    return summary


def show_scores(console: Console, summary: ScoringSummary) -> None:
    """The counts on the terminal."""
    print_table(console, f"{summary.source}, {summary.scored:,} of {summary.rows:,} rows scored", summary.table())
    console.print(f"Scores, summary and plot are in {summary.folder}")


if __name__ == "__main__":
    run_from_shell(score, ScoreConfig, prog="python -m flows.score", show=show_scores)
