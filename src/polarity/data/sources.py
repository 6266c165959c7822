"""Read labelled tweets from a file as it is, without judging a row.

CSV, TSV and Parquet, plain or gzipped; Sentiment140 in its original form (six
columns, no header, ISO-8859-1) is recognised by its first line.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from polarity.config import DataConfig
from polarity.data.columns import LABEL_NAMES, SENTIMENT140, TEXT_NAMES, find_column, label_mapping
from polarity.errors import ConfigurationError, DataRejected

_HEAD_BYTES = 64 * 1024
_RESERVED = {"row", "key"}  # columns of our own
_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive (or a spreadsheet)",
    b"SQLite format 3": "an SQLite database",
    b"\x7fELF": "a program",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
}


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
    path = config.path
    if path is None:
        raise ConfigurationError(
            "No tweets to read: give --data.path FILE (CSV, TSV or Parquet, plain or gzipped), "
            "or --data.source generated."
        )
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigurationError(f"{path} {what}; --data.path wants a CSV, TSV or Parquet file.")
    try:
        table = _read_table(path, config)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataRejected(f"{path}: the gzip file is damaged or cut off ({error}). Get the file again.") from error
    except OSError as error:
        if isinstance(error, pa.ArrowException):
            raise DataRejected(f"{path}: {error}") from error
        raise
    return _named(table, config, labels, str(path))


def _read_table(path: Path, config: DataConfig) -> pa.Table:
    with _opened(path) as stream:
        head = stream.read(_HEAD_BYTES)
    if not head.strip():
        raise DataRejected(f"{path} is empty; a header and at least one row are needed.")
    if head.startswith(b"PAR1"):
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise DataRejected(f"{path}: the Parquet file is damaged ({error}). Get the file again.") from error
        columns = [
            column.cast(pa.string()) if not pa.types.is_nested(column.type) else None for column in table.columns
        ]
        kept = {
            _own(name): column for name, column in zip(table.column_names, columns, strict=True) if column is not None
        }
        return pa.table({**kept, "row": _numbers(table.num_rows)})
    _refuse_binary(head, path, config)
    return _read_delimited(path, head, config)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked if they are gzipped whatever the name says."""
    with path.open("rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if gzipped else path.open("rb") as stream:
        yield stream  # type: ignore[misc]  # GzipFile reads bytes as IO[bytes] does


def _refuse_binary(head: bytes, path: Path, config: DataConfig) -> None:
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise DataRejected(f"{path} is {what}, not a table; a CSV, TSV or Parquet file is wanted.")
    if config.encoding is not None:
        return
    utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff")) or (len(head) > 3 and (head[1::2].count(0) > len(head) // 4))
    if utf16:
        raise DataRejected(f"{path} is in UTF-16; save it as UTF-8, or say --data.encoding utf-16.")
    if b"\x00" in head:
        raise DataRejected(
            f"{path} holds NUL bytes near its start: it is not text; a CSV, TSV or Parquet file is wanted."
        )


def _read_delimited(path: Path, head: bytes, config: DataConfig) -> pa.Table:
    original = config.text_column is None and _is_sentiment140(head)
    tabs = path.name.removesuffix(".gz").lower().endswith((".tsv", ".tab"))
    separator = config.separator or ("\t" if tabs else ",")
    if len(separator) != 1:
        raise ConfigurationError(f"Got data.separator={separator!r}; it must be one character.")
    quoting = config.quoting if config.quoting is not None else separator != "\t"
    encoding = config.encoding or ("iso-8859-1" if original else "utf-8")

    odd: list[tuple[int, int, str]] = []  # rows with another number of fields: record number, fields, text

    def set_aside(row: pacsv.InvalidRow) -> str:
        odd.append((row.number, row.actual_columns, row.text))
        return "skip"

    try:
        with _opened(path) as stream:
            header = list(SENTIMENT140) if original else _header(head, separator, quoting, encoding, path)
            table = pacsv.read_csv(
                stream,
                read_options=pacsv.ReadOptions(
                    use_threads=False,  # record numbers are known only so
                    encoding=encoding,
                    column_names=header,
                    skip_rows=0 if original else 1,
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=separator,
                    quote_char='"' if quoting else False,
                    newlines_in_values=quoting,
                    invalid_row_handler=set_aside,
                    ignore_empty_lines=True,
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types={name: pa.string() for name in header}, strings_can_be_null=False
                ),
            )
    except (pa.ArrowInvalid, UnicodeError, LookupError) as error:
        raise _refusal(error, path, encoding) from error
    first = 1 if original else 2
    return _with_odd_rows(table, header, [(number - first + 1, n, text) for number, n, text in odd], separator, quoting)


def _refusal(error: Exception, path: Path, encoding: str) -> Exception:
    if isinstance(error, LookupError):
        return ConfigurationError(f"Got data.encoding={encoding!r}, which no codec is named; try utf-8 or iso-8859-1.")
    message = str(error).splitlines()[0]
    if isinstance(error, UnicodeError) or "UTF8" in message or "utf-8" in message.lower():
        return DataRejected(
            f"{path} is not in {encoding} ({message}). Say what it is in, e.g. --data.encoding cp1252 or iso-8859-1."
        )
    return DataRejected(f"{path} cannot be read as a table ({message}). Check --data.separator and --data.quoting.")


def _is_sentiment140(head: bytes) -> bool:
    first = next(csv.reader(io.StringIO(head.split(b"\n", 1)[0].decode("iso-8859-1"))), [])
    return len(first) == 6 and first[0] in {"0", "2", "4"} and first[1].isdigit()


def _header(head: bytes, separator: str, quoting: bool, encoding: str, path: Path) -> list[str]:
    text = head.decode(encoding, "ignore").removeprefix("\ufeff")
    reader = csv.reader(
        io.StringIO(text), delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE
    )
    try:
        names = [name.strip() for name in next(reader)]
    except (csv.Error, StopIteration) as error:
        raise DataRejected(f"{path}: no header could be read ({error}).") from error
    for position, name in enumerate(names):
        if name in names[:position] and name:
            raise DataRejected(f"{path}: the column {name!r} is there twice; give each column a name of its own.")
    return [_own(name) or f"column_{position + 1}" for position, name in enumerate(names)]


def _own(name: str) -> str:
    return f"{name}_" if name in _RESERVED else name


def _with_odd_rows(
    table: pa.Table, header: list[str], odd: list[tuple[int, int, str]], separator: str, quoting: bool
) -> pa.Table:
    """Put back the rows whose number of fields is not the header's.

    Without quoting, separators too many belong to the last field (a tweet with a tab inside). Otherwise
    nobody can tell which field is which: the row comes back with no text, and the gate quarantines it.
    """
    numbers = np.setdiff1d(np.arange(1, table.num_rows + len(odd) + 1), [number for number, _, _ in odd])
    table = table.append_column("row", pa.array(numbers[: table.num_rows], pa.int64()))
    if not odd:
        return table
    rows = []
    for number, fields, text in odd:
        if not quoting and fields > len(header):
            values: list[str | None] = list(text.rstrip("\r\n").split(separator, len(header) - 1))
        else:
            values = [None] * len(header)
        rows.append(dict(zip(header, values, strict=True)) | {"row": number})
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
