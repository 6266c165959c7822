"""Read labelled tweets from a file unchanged, without validating rows."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polarity.config.sections import DataConfig
from polarity.data.columns import (
    LABEL_NAMES,
    SENTIMENT140,
    SENTIMENT140_CODES,
    TEXT_NAMES,
    find_column,
    label_mapping,
    normalise_label,
)
from polarity.data.stream import LINE, PROBLEM, RAW, ROW, TweetFile
from polarity.errors import ConfigurationError, DataRejected

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledTweets:
    """The records of a labelled file.

    Attributes
    ----------
    table : pyarrow.Table
        `row` (int64, the record's number in the file, from 1, without the header), `text`, `label` and the other
        columns of the file, all as strings.
    unreadable : pyarrow.Table
        Records that could not be read: `row` and `line` (int64, counted from 1), `raw` (their text), `reason`.
    ignored : int
        Number of records excluded because of their label.
    thinned_out : int
        Number of records not read because of `limit`.
    """

    table: pa.Table
    unreadable: pa.Table
    ignored: int = 0
    thinned_out: int = 0


def read_tweets(config: DataConfig, labels: tuple[str, ...]) -> LabelledTweets:
    """Read the file of `config`.

    Parameters
    ----------
    config : DataConfig
        With `path` set.
    labels : tuple of str
        The class set to which the labels of the file are mapped; an unknown label is left unchanged.

    Raises
    ------
    ConfigurationError
        If the file does not exist, or an option does not fit it.
    DataRejected
        If the file is empty, damaged, not a table, in a different encoding or lacks a column, or if its labels are
        ambiguous.
    """
    unknown = sorted(set((config.label_map or {}).values()) - set(labels))
    if unknown:
        raise ConfigurationError(
            f"data.label_map maps to {unknown}, which are not in labels={list(labels)}. Add them to --labels."
        )
    file = TweetFile(source_file(config), config)
    source = str(file.path)
    text = find_column(file.columns, config.text_column, TEXT_NAMES, role="text", source=source)
    label = find_column(file.columns, config.label_column, LABEL_NAMES, role="label", source=source)
    tables = list(file.tables(*file.columns))
    if not any(table.num_rows for table in tables):
        raise DataRejected(f"{source} has a header but no rows; labelled tweets are needed.")
    table = pa.concat_tables(tables)
    _log.info("%s: %d records (%s)", source, table.num_rows, file.description)
    if table.column(PROBLEM).null_count < table.num_rows:
        readable = pc.is_null(table.column(PROBLEM))
        unreadable = table.filter(pc.invert(readable)).select([ROW, LINE, RAW, PROBLEM])
        table = table.filter(readable)
    else:
        unreadable = table.slice(0, 0).select([ROW, LINE, RAW, PROBLEM])
    before = table.num_rows
    if config.limit and before > config.limit:
        table = table.take(np.linspace(0, before - 1, config.limit).round().astype(np.int64))
    thinned_out = before - table.num_rows

    # a column has few distinct labels, so each is mapped once
    counts = {entry["values"]: entry["counts"] for entry in table.column(label).value_counts().to_pylist()}
    ignored = {normalise_label(name) for name in config.ignore_labels}
    kept = {value: count for value, count in counts.items() if normalise_label(value) not in ignored}
    known_codes = SENTIMENT140_CODES if file.columns == SENTIMENT140 else None
    mapping = label_mapping(config.label_map or known_codes, labels, kept, source=source)
    meanings = {value: mapping.get(normalise_label(value), (value or "").strip()) or None for value in kept}
    meanings = {
        value: meaning for value, meaning in meanings.items() if not ignored or normalise_label(meaning) not in ignored
    }
    if len(meanings) < len(counts):
        table = table.filter(pc.is_in(table.column(label), value_set=pa.array(list(meanings), pa.string())))
    places = pc.index_in(table.column(label), value_set=pa.array(list(meanings), pa.string()))
    mapped = pa.array(list(meanings.values()), pa.string()).take(places)
    others = {name: table.column(name) for name in file.columns if name not in (text, label)}
    return LabelledTweets(
        pa.table({"row": table.column(ROW), "text": table.column(text), "label": mapped, **others}),
        unreadable.rename_columns(["row", "line", "raw", "reason"]),
        ignored=before - thinned_out - table.num_rows,
        thinned_out=thinned_out,
    )


def source_file(config: DataConfig) -> Path:
    """Return the file to read.

    Raises
    ------
    ConfigurationError
        If `path` is not set or is not a file.
    """
    path = config.path
    if path is None:
        raise ConfigurationError(
            "There are no tweets to read; set --data.path FILE (CSV, TSV, JSON, Parquet or Excel, plain or "
            "compressed), or --data.source generated."
        )
    return existing_file(path)


def existing_file(path: Path) -> Path:
    """Return `path`.

    Raises
    ------
    ConfigurationError
        If it is not a file.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigurationError(f"{path} {what}; --data.path must be a CSV, TSV, JSON, Parquet or Excel file.")
    return path
