"""Collect tweets from new files: `python -m flows.collect --data.path FOLDER`, or the deployment `collect`."""

from collections import Counter

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from rich.console import Console
from rich.text import Text

from flows.adapter import polarity_task, translate_errors
from flows.terminal import print_table, run_from_shell
from polarity.config.settings import settings
from polarity.data.collection import Harvest
from polarity.data.collection import collect as read_new_files
from polarity.pipeline.config import CollectConfig


@flow(name="collect", flow_run_name="collect", description="Collect tweets from new files for the next training.")
@translate_errors
def collect(config: CollectConfig) -> Harvest:
    """Read the files that are new or have changed, and keep their tweets for the next training.

    Parameters
    ----------
    config : CollectConfig
        The files and how to read them.
    """
    return read_files.submit(config).result()


@polarity_task("read files")
def read_files(config: CollectConfig) -> Harvest:
    """Take the tweets of each file through the gate, and keep them with the note that it was read."""
    harvest = read_new_files(config.data, config.labels, config.gate, settings().collected_folder)
    log = get_run_logger()
    for entry in harvest.read:
        if entry.problem:
            log.warning("%s is refused: %s", entry.address, entry.problem)
        else:
            log.info("%s: %s", entry.address, in_words(entry.counts))
    for address, reason in harvest.waiting.items():
        log.info("%s waits: %s", address, reason)
    if harvest.read:
        create_table_artifact(key="collected", table=table(harvest), description="Files that were read")
    return harvest


def in_words(counts: dict[str, int]) -> str:
    """The rows of a file by what became of them."""
    return ", ".join(f"{count:,} {fate}" for fate, count in counts.items()) or "no rows"


def table(harvest: Harvest) -> list[dict[str, str]]:
    """One row for each file that was read."""
    return [{"file": entry.address, "rows": entry.problem or in_words(entry.counts)} for entry in harvest.read]


def show_harvest(console: Console, harvest: Harvest) -> None:
    """Print the files that were read, and those that wait."""
    if harvest.read:
        print_table(console, "Collected", table(harvest))
    for address, reason in harvest.waiting.items():
        console.print(Text(f"{address} waits: {reason}"), soft_wrap=True)
    total = Counter[str]()
    for entry in harvest.read:
        total.update(entry.counts)
    console.print(
        Text(f"{len(harvest.read)} files read ({in_words(total)}), {harvest.unchanged} unchanged."), soft_wrap=True
    )


if __name__ == "__main__":
    run_from_shell(collect, CollectConfig, prog="python -m flows.collect", show=show_harvest)
