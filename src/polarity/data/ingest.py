"""Ingest a source into a snapshot."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from polarity.config.sections import DataConfig, last_name
from polarity.data.corpus import generate_tweets
from polarity.data.recent import merge
from polarity.data.snapshot import Snapshot, write_snapshot
from polarity.data.sources import LabelledTweets, read_tweets


def ingest(
    config: DataConfig,
    labels: tuple[str, ...],
    folder: Path,
    recent: pa.Table | None = None,
    remarks: tuple[str, ...] = (),
) -> Snapshot:
    """Read or generate the tweets of `config` and store them unchanged as a snapshot in `folder`.

    Parameters
    ----------
    recent : pyarrow.Table, optional
        Tweets that came in since, to add (`polarity.data.recent`).
    remarks : tuple of str
        What to know about them; written into the manifest.

    Raises
    ------
    ConfigurationError, DataRejected
        As `polarity.data.sources.read_tweets`.
    """
    if config.source == "generated":
        table = generate_tweets(rows=config.rows, labels=labels, seed=config.seed)
        tweets = LabelledTweets(table, table.slice(0, 0))
        source = f"generated corpus ({config.rows} rows, seed {config.seed})"
        unreadable = None
    else:
        tweets = read_tweets(config, labels)
        source = last_name(config.path) or ""
        unreadable = tweets.unreadable
    table, origins, left_out = tweets.table, None, None
    if recent is not None:
        rows = [part.column("row") for part in (table, unreadable) if part is not None and part.num_rows]
        merged = merge(table, recent, first_row=1 + max((pc.max(row).as_py() for row in rows), default=0))
        table, origins, left_out = merged.table, merged.origins, merged.left_out
        remarks = (*remarks, merged.noise.in_words())
    return write_snapshot(
        table,
        folder,
        source=source,
        labels=labels,
        unreadable=unreadable,
        ignored=tweets.ignored,
        thinned_out=tweets.thinned_out,
        origins=origins,
        left_out=left_out,
        remarks=remarks,
    )
