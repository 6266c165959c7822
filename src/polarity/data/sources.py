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
from polarity.data.files import TweetFiles, find_files
from polarity.data.stream import LINE, PROBLEM, RAW, ROW, TweetFile
from polarity.errors import ConfigurationError, DataRejected

FILE, FILE_ROW = "file", "file_row"
_OWN_TYPES = {ROW: pa.int64(), LINE: pa.int64(), RAW: pa.string(), PROBLEM: pa.string()}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledTweets:
    """The records of a labelled file.

    Attributes
    ----------
    table : pyarrow.Table
        `row` (int64, the record's number in the file, from 1, without the header), `text`, `label` and the other
        columns of the file, all as strings. Of a folder, `row` counts through all files, and there are `file` (the
        name relative to the folder) and `file_row` (int64, the record's number in that file).
    unreadable : pyarrow.Table
        Records that could not be read: `row` and `line` (int64, counted from 1), `raw` (their text), `reason`;
        of a folder also `file` and `file_row`. Lines are counted in each file.
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
    """Read the file of `config`, or all files of its folder.

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
    files = source_files(config)
    for remark in files.remarks():
        _log.warning("%s", remark)
    source = files.source
    if files.is_folder:
        table, text, label, original = _read_folder(files, config)
    else:
        table, text, label, original = _read_file(files.path, config)
    if not table.num_rows:
        raise DataRejected(f"{source} has a header but no rows; labelled tweets are needed.")
    place = [FILE, FILE_ROW] if files.is_folder else []
    if table.column(PROBLEM).null_count < table.num_rows:
        readable = pc.is_null(table.column(PROBLEM))
        unreadable = table.filter(pc.invert(readable)).select([ROW, LINE, RAW, PROBLEM, *place])
        table = table.filter(readable)
    else:
        unreadable = table.slice(0, 0).select([ROW, LINE, RAW, PROBLEM, *place])
    before = table.num_rows
    if config.limit and before > config.limit:
        table = table.take(np.linspace(0, before - 1, config.limit).round().astype(np.int64))
    thinned_out = before - table.num_rows

    # a column has few distinct labels, so each is mapped once
    counts = {entry["values"]: entry["counts"] for entry in table.column(label).value_counts().to_pylist()}
    ignored = {normalise_label(name) for name in config.ignore_labels}
    kept = {value: count for value, count in counts.items() if normalise_label(value) not in ignored}
    known_codes = SENTIMENT140_CODES if original else None
    mapping = label_mapping(config.label_map or known_codes, labels, kept, source=source)
    meanings = {value: mapping.get(normalise_label(value), (value or "").strip()) or None for value in kept}
    meanings = {
        value: meaning for value, meaning in meanings.items() if not ignored or normalise_label(meaning) not in ignored
    }
    if len(meanings) < len(counts):
        table = table.filter(pc.is_in(table.column(label), value_set=pa.array(list(meanings), pa.string())))
    places = pc.index_in(table.column(label), value_set=pa.array(list(meanings), pa.string()))
    mapped = pa.array(list(meanings.values()), pa.string()).take(places)
    own = (text, label, ROW, LINE, RAW, PROBLEM)
    others = {name: table.column(name) for name in table.column_names if name not in own}
    return LabelledTweets(
        pa.table({"row": table.column(ROW), "text": table.column(text), "label": mapped, **others}),
        unreadable.rename_columns(["row", "line", "raw", "reason", *place]),
        ignored=before - thinned_out - table.num_rows,
        thinned_out=thinned_out,
    )


def _read_file(path: Path, config: DataConfig) -> tuple[pa.Table, str, str, bool]:
    """Read a file; also return its columns of text and label, and whether it is Sentiment140 in its original form."""
    file = TweetFile(path, config)
    source = str(path)
    text = find_column(file.columns, config.text_column, TEXT_NAMES, role="text", source=source)
    label = find_column(file.columns, config.label_column, LABEL_NAMES, role="label", source=source)
    empty = pa.table({name: pa.array([], kind) for name, kind in _OWN_TYPES.items()})
    table = pa.concat_tables([*file.tables(*file.columns)] or [empty])
    _log.info("%s: %d records (%s)", source, table.num_rows, file.description)
    return table, text, label, file.columns == SENTIMENT140


def _read_folder(files: TweetFiles, config: DataConfig) -> tuple[pa.Table, str, str, bool]:
    """Read the files one after the other as a table with the columns of all; `row` counts through all files."""
    tables: list[pa.Table] = []
    originals = []
    rows = 0
    for name, path in files.files.items():
        table, text, label, original = _read_file(path, config)
        if not table.num_rows:
            continue
        within = table.column(ROW)
        renamed = [_name_in_folder(column, text, label) for column in table.column_names]
        table = table.rename_columns(renamed).set_column(renamed.index(ROW), ROW, pc.add(within, rows))
        table = table.append_column(FILE, pa.repeat(name, table.num_rows)).append_column(FILE_ROW, within)
        tables.append(table)
        originals.append(original)
        rows += table.num_rows
    empty = pa.table({name: pa.array([], kind) for name, kind in _OWN_TYPES.items()})
    return pa.concat_tables(tables or [empty], promote_options="default"), "text", "label", all(originals)


def _name_in_folder(column: str, text: str, label: str) -> str:
    """Files may name their text and label differently; other columns leave these names to them."""
    if column in (text, label):
        return "text" if column == text else "label"
    return f"{column}_" if column in ("text", "label", FILE, FILE_ROW) else column


def source_files(config: DataConfig) -> TweetFiles:
    """Return the files to read.

    Raises
    ------
    ConfigurationError
        If `path` is not set, does not exist, or is a folder without a file to read.
    """
    if config.path is None:
        raise ConfigurationError(
            "There are no tweets to read; set --data.path to a file (CSV, TSV, JSON, Parquet or Excel, plain or "
            "compressed) or a folder of files, or --data.source generated."
        )
    return find_files(config.path)
