"""Labelled tweets on which to evaluate a model; they need not be good enough for training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from polarity.config.credentials import without_credentials
from polarity.config.sections import DataConfig
from polarity.data.sources import read_tweets
from polarity.data.splits import with_keys
from polarity.errors import DataRejected
from polarity.text.cleaning import repair


@dataclass(frozen=True)
class LabelledFile:
    """The rows that can be evaluated (Parquet), and the number of excluded rows by reason."""

    path: Path
    rows: int
    reasons: dict[str, int]

    @property
    def left_out(self) -> int:
        """Number of records of the file that are not evaluated."""
        return sum(self.reasons.values())


def read_labelled(config: DataConfig, labels: tuple[str, ...], path: Path, *, max_bad_share: float) -> LabelledFile:
    """Read the file of `config`, repair its texts, and write the rows with a text and a known label to `path`.

    They get the column `key` of the splits, so that repeated texts are recognised.

    Raises
    ------
    ConfigurationError, DataRejected
        As `read_tweets`; also if a class has no row, or if the share of records without a text or a known label
        exceeds `max_bad_share`, because the metrics would not represent the file.
    """
    tweets = read_tweets(config, labels)
    source = without_credentials(str(config.path))
    table = tweets.table
    texts = pa.array([repair(text or "") for text in table.column("text").to_pylist()], pa.string())
    table = table.set_column(table.column_names.index("text"), "text", texts)
    known = pc.fill_null(pc.is_in(table.column("label"), value_set=pa.array(labels)), False)
    has_text = pc.not_equal(table.column("text"), "")
    kept = table.filter(pc.and_(known, has_text))
    bad = Counter({"they could not be read": tweets.unreadable.num_rows})
    for label in table.filter(pc.invert(known)).column("label").to_pylist():
        bad["the label is missing" if label is None else f"the label {label[:40]!r} is not a class of the model"] += 1
    bad["the text is missing"] = table.filter(pc.and_(known, pc.invert(has_text))).num_rows
    bad = +bad
    records = table.num_rows + tweets.unreadable.num_rows
    problems = "; ".join(f"{count} of {records} rows: {reason}" for reason, count in bad.most_common(5))
    missing = sorted(set(labels) - set(kept.column("label").to_pylist()))
    if missing:
        raise DataRejected(
            f"{source}: no row is labelled {missing}, but every class of the model needs "
            f"one ({list(labels)}). {problems + '. ' if problems else ''}Map the labels of the file with "
            "--data.label_map."
        )
    if sum(bad.values()) > max_bad_share * records:
        raise DataRejected(
            f"{source} has too many unusable rows to evaluate {list(labels)}: {problems}. At most "
            f"{max_bad_share:.1%} may be unusable (--max_bad_share). Map labels with --data.label_map, or exclude them "
            "with --data.ignore_labels."
        )
    if tweets.ignored:
        bad["their label is ignored (data.ignore_labels)"] = tweets.ignored
    pq.write_table(with_keys(kept), path)
    return LabelledFile(path, kept.num_rows, dict(bad))
