"""Labelled tweets to measure a model on, which need not be fit to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from polarity.config.sections import DataConfig
from polarity.data.sources import read_tweets
from polarity.errors import DataRejected
from polarity.text.cleaning import repair


@dataclass(frozen=True)
class LabelledFile:
    """Rows that can be measured (Parquet), and how many could not be."""

    path: Path
    rows: int
    left_out: int


def read_labelled(config: DataConfig, labels: tuple[str, ...], path: Path) -> LabelledFile:
    """Read the file of `config`, repair its texts, and write the rows with a text and a known label to `path`.

    Raises
    ------
    ConfigurationError, DataRejected
        As `read_tweets`, and if no row is left.
    """
    table = read_tweets(config, labels)
    texts = pa.array([repair(text or "") for text in table.column("text").to_pylist()], pa.string())
    table = table.set_column(table.column_names.index("text"), "text", texts)
    known = pc.is_in(table.column("label"), value_set=pa.array(labels))
    kept = table.filter(pc.and_(known, pc.not_equal(table.column("text"), "")))
    if kept.num_rows == 0:
        found = sorted({str(label) for label in table.column("label").unique().to_pylist()})[:8]
        raise DataRejected(
            f"{config.path}: no row has a text and a label of {list(labels)}; its labels are {found}. "
            "Say what they mean with --data.label_map."
        )
    pq.write_table(kept, path)
    return LabelledFile(path, kept.num_rows, table.num_rows - kept.num_rows)
