"""Read labelled tweets from a file as it is, without judging a row.

CSV, TSV and Parquet, plain or gzipped; Sentiment140 in its original form (six
columns, no header, ISO-8859-1) is recognised by its first line.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from polarity.config.sections import DataConfig
from polarity.data.columns import LABEL_NAMES, TEXT_NAMES, find_column, label_mapping
from polarity.data.dialect import Dialect, opened, own_name, read_head, refuse_binary, sniff, told, unbroken
from polarity.errors import ConfigurationError, DataRejected


def read_tweets(config: DataConfig, labels: tuple[str, ...]) -> pa.Table:
    """Read the file of `config` into columns `row`, `text`, `label` and whatever else it has.

    Parameters
    ----------
    config : DataConfig
        With `path` set.
    labels : tuple of str
        The class set; labels of the file are mapped onto it, one that the mapping does not know stays as it is.

    Returns
    -------
    pyarrow.Table
        `row` (int64) counts the file's records from 1, header not counted; all other columns are strings.

    Raises
    ------
    ConfigurationError
        If there is no such file, or an option does not fit it.
    DataRejected
        If the file is empty, damaged, not a table, in another encoding, or lacks a column.
    """
    path = source_file(config)
    with unbroken(path):
        table = _read_table(path, config)
    return _named(table, config, labels, str(path))


def source_file(config: DataConfig) -> Path:
    """The file to read.

    Raises
    ------
    ConfigurationError
        If none is named, or there is none.
    """
    path = config.path
    if path is None:
        raise ConfigurationError(
            "No tweets to read: give --data.path FILE (CSV, TSV or Parquet, plain or gzipped), "
            "or --data.source generated."
        )
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigurationError(f"{path} {what}; --data.path wants a CSV, TSV or Parquet file.")
    return path


def _read_table(path: Path, config: DataConfig) -> pa.Table:
    head = read_head(path)
    if head.startswith(b"PAR1"):
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise DataRejected(f"{path}: the Parquet file is damaged ({error}). Get the file again.") from error
        columns = [
            column.cast(pa.string()) if not pa.types.is_nested(column.type) else None for column in table.columns
        ]
        kept = {
            own_name(name): column
            for name, column in zip(table.column_names, columns, strict=True)
            if column is not None
        }
        return pa.table({**kept, "row": _numbers(table.num_rows)})
    refuse_binary(head, path, config)
    return _read_delimited(path, sniff(path, head, config))


def _read_delimited(path: Path, dialect: Dialect) -> pa.Table:
    odd: list[tuple[int, int, str]] = []  # rows with another number of fields: record number, fields, text

    def set_aside(row: pacsv.InvalidRow) -> str:
        odd.append((row.number - dialect.first_line + 1, row.actual_columns, row.text))
        return "skip"

    with told(path, dialect.encoding), opened(path) as stream:
        table = pacsv.read_csv(stream, **dialect.options(set_aside))
    return _with_odd_rows(table, dialect, odd)


def _with_odd_rows(table: pa.Table, dialect: Dialect, odd: list[tuple[int, int, str]]) -> pa.Table:
    """Put back the rows whose number of fields is not the header's.

    Where nobody can tell which field is which, the row comes back with no text, and the gate quarantines it.
    """
    numbers = np.setdiff1d(np.arange(1, table.num_rows + len(odd) + 1), [number for number, _, _ in odd])
    table = table.append_column("row", pa.array(numbers[: table.num_rows], pa.int64()))
    if not odd:
        return table
    rows = [{"row": number, **(dialect.mended(fields, text) or {})} for number, fields, text in odd]
    return pa.concat_tables([table, pa.Table.from_pylist(rows, table.schema)]).sort_by("row")


def _numbers(rows: int) -> pa.Array:
    return pa.array(np.arange(1, rows + 1), pa.int64())


def _named(table: pa.Table, config: DataConfig, labels: tuple[str, ...], source: str) -> pa.Table:
    """Name the text and the label column, map the labels, thin out to `limit`."""
    if table.num_rows == 0:
        raise DataRejected(f"{source} has a header but no row; labelled tweets are needed.")
    columns = [name for name in table.column_names if name != "row"]
    text = find_column(columns, config.text_column, TEXT_NAMES, role="text", source=source)
    label = find_column(columns, config.label_column, LABEL_NAMES, role="label", source=source)
    mapping = label_mapping(config.label_map, labels)
    strangers = sorted(set((config.label_map or {}).values()) - set(labels))
    if strangers:
        raise ConfigurationError(
            f"data.label_map leads to {strangers}, which labels={list(labels)} does not hold. Add them to --labels."
        )
    if config.limit and table.num_rows > config.limit:
        table = table.take(np.linspace(0, table.num_rows - 1, config.limit).round().astype(np.int64))
    spelt = table.column(label).to_pylist()
    if config.ignore_labels:
        ignored = {name.strip().lower() for name in config.ignore_labels}
        keep = np.array([(value or "").strip().lower() not in ignored for value in spelt])
        table, spelt = table.filter(pa.array(keep)), [value for value, kept in zip(spelt, keep, strict=True) if kept]
    known = [(value or "").strip() for value in spelt]
    mapped = pa.array([mapping.get(value.lower(), value) or None for value in known], pa.string())
    extra = {name: table.column(name) for name in columns if name not in (text, label)}
    return pa.table({"row": table.column("row"), "text": table.column(text), "label": mapped, **extra})
