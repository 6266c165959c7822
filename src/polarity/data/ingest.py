"""Ingest a source into a snapshot."""

from __future__ import annotations

from pathlib import Path

from polarity.config.sections import DataConfig
from polarity.data.corpus import generate_tweets
from polarity.data.snapshot import Snapshot, write_snapshot
from polarity.data.sources import read_tweets


def ingest(config: DataConfig, labels: tuple[str, ...], folder: Path) -> Snapshot:
    """Read or generate the tweets of `config` and store them unchanged as a snapshot in `folder`.

    Raises
    ------
    ConfigurationError, DataRejected
        As `polarity.data.sources.read_tweets`.
    """
    if config.source == "generated":
        table = generate_tweets(rows=config.rows, labels=labels, seed=config.seed)
        source = f"generated corpus ({config.rows} rows, seed {config.seed})"
        return write_snapshot(table, folder, source=source, labels=labels)
    tweets = read_tweets(config, labels)
    return write_snapshot(
        tweets.table,
        folder,
        source=config.path.name if config.path else "",
        labels=labels,
        unreadable=tweets.unreadable,
        ignored=tweets.ignored,
        thinned_out=tweets.thinned_out,
    )
