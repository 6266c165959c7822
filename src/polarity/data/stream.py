"""Stream the records of a file of any size and format in batches; no record is silently dropped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from polarity.config.sections import FileConfig
from polarity.data.compression import open_decompressed, read_blocks
from polarity.data.dialect import (
    Dialect,
    detect_dialect,
    detect_encoding,
    reject_other_formats,
    to_utf8,
    unreserved_name,
)
from polarity.data.json_records import Fields, looks_like_json, read_json
from polarity.data.records import Unreadable, merge_tables
from polarity.data.workbook import Workbook, is_workbook
from polarity.errors import DataRejected

ROW, LINE, RAW, PROBLEM = "row", "_line", "_raw", "_problem"
_HEAD_BYTES = 64 * 1024
_BATCH_ROWS = 10_000
# Number of objects whose fields define the columns of a JSON file.
_SAMPLE_OBJECTS = 1000


class TweetFile:
    """The records of a delimited, JSON or Parquet file, plain or compressed, or of an Excel workbook.

    All but workbooks are read without loading the whole file.

    Every record of the file is a row of the tables, either with its columns or with its line, its raw text and the
    reason why it could not be read.

    Parameters
    ----------
    path : Path
        The file.
    config : FileConfig
        How to read it; options that are not set are detected from the content.

    Attributes
    ----------
    columns : tuple of str
        Names of the columns.
    description : str
        The detected format, for the log.

    Raises
    ------
    ConfigurationError, DataRejected
        If the file has none of these formats; damage further into the file is raised when it is reached.
    """

    def __init__(self, path: Path, config: FileConfig) -> None:
        self.path = path
        self._format: _Parquet | _Json | _Delimited | _Sheet
        if is_workbook(path):
            self._format = _Sheet(path, config)
            self.columns, self.description = self._format.columns, self._format.description
            return
        with open_decompressed(path) as stream:
            head = stream.read(_HEAD_BYTES)
        if not head.strip():
            raise DataRejected(f"{path} is empty; a header and at least one row are needed.")
        if head.startswith(b"PAR1"):
            self._format = _Parquet(path)
        else:
            reject_other_formats(path, head, config)
            self._format = (
                _Json(path, config) if looks_like_json(head) else _Delimited(path, detect_dialect(path, config))
            )
        self.columns = self._format.columns
        self.description = self._format.description

    def tables(self, *columns: str) -> Iterator[pa.Table]:
        """Read the records in order, in tables of a few thousand rows.

        Parameters
        ----------
        columns : str
            Names from `self.columns`.

        Yields
        ------
        pyarrow.Table
            `row` (int64, the record's number in the file, from 1), the requested columns (strings), and for unreadable
            records `_line` (int64, the line number, from 1), `_raw` (their text) and `_problem`.
        """
        yield from self._format.tables(columns)


class _Delimited:
    def __init__(self, path: Path, dialect: Dialect) -> None:
        self._path, self._dialect = path, dialect
        self.columns = dialect.layout.header
        self.description = str(dialect)

    def tables(self, columns: tuple[str, ...]) -> Iterator[pa.Table]:
        for block in self._dialect.reader().read(self._dialect.records(self._path)):
            yield _table(block.rows, {name: block.table.column(name) for name in columns}, block.unreadable)


class _Json:
    def __init__(self, path: Path, config: FileConfig) -> None:
        with open_decompressed(path) as stream:
            head = stream.read(_HEAD_BYTES)
        self._path = path
        self._encoding = config.encoding or detect_encoding(path, head)
        self.description = f"{self._encoding}, JSON"
        names: dict[str, str] = {}
        for record in islice(self._objects(), _SAMPLE_OBJECTS):
            if not isinstance(record, Unreadable):
                names |= {unreserved_name(name): name for name in record[1]}
        # a field that occurs only in later objects
        for wanted in (config.text_column, getattr(config, "label_column", None)):
            if wanted is not None:
                names.setdefault(wanted, wanted)
        self._original = names
        self.columns = tuple(names)

    def tables(self, columns: tuple[str, ...]) -> Iterator[pa.Table]:
        records = self._objects()
        first = 1
        while batch := list(islice(records, _BATCH_ROWS)):
            unreadable = [record for record in batch if isinstance(record, Unreadable)]
            fields: list[Fields] = [record[1] for record in batch if not isinstance(record, Unreadable)]
            rows = np.setdiff1d(np.arange(first, first + len(batch)), [record.row for record in unreadable])
            values = {
                name: pa.array([record.get(self._original[name]) for record in fields], pa.string()) for name in columns
            }
            yield _table(rows, values, unreadable)
            first += len(batch)

    def _objects(self) -> Iterator[tuple[int, Fields] | Unreadable]:
        return read_json(to_utf8(read_blocks(self._path), self._encoding, self._path))


class _Parquet:
    def __init__(self, path: Path) -> None:
        self._path = path
        with _parquet_errors(path):
            schema = pq.read_schema(path)
        self._original = {unreserved_name(field.name): field.name for field in schema if _is_scalar(field.type)}
        self._names = _class_names(schema)
        self.columns = tuple(self._original)
        self.description = "Parquet"

    def tables(self, columns: tuple[str, ...]) -> Iterator[pa.Table]:
        first = 1
        with _parquet_errors(self._path), pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[self._original[name] for name in columns]):
                values = {name: self._text(batch, self._original[name]) for name in columns}
                yield _table(np.arange(first, first + batch.num_rows), values, [])
                first += batch.num_rows

    def _text(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        column = batch.column(name)
        if name not in self._names:
            return column.cast(pa.string())
        named = dict(enumerate(self._names[name]))
        return pa.array(
            [named.get(code, code if code is None else str(code)) for code in column.to_pylist()], pa.string()
        )


class _Sheet:
    def __init__(self, path: Path, config: FileConfig) -> None:
        self._book = Workbook(path, config)
        self.columns = self._book.columns
        self.description = f"Excel, sheet {self._book.sheet!r}"

    def tables(self, columns: tuple[str, ...]) -> Iterator[pa.Table]:
        places = [self.columns.index(name) for name in columns]
        rows = self._book.rows()
        while batch := list(islice(rows, _BATCH_ROWS)):
            values = {
                name: pa.array([cells[place] for _, cells in batch], pa.string())
                for name, place in zip(columns, places, strict=True)
            }
            yield _table([number for number, _ in batch], values, [])


def _table(
    rows: Iterable[int], values: dict[str, pa.Array | pa.ChunkedArray], unreadable: list[Unreadable]
) -> pa.Table:
    numbers = pa.array(rows, pa.int64())
    nothing = {LINE: pa.int64(), RAW: pa.string(), PROBLEM: pa.string()}
    table = pa.table({ROW: numbers, **values, **{name: pa.nulls(len(numbers), kind) for name, kind in nothing.items()}})
    if not unreadable:
        return table
    records = [{ROW: record.row, LINE: record.line, RAW: record.raw, PROBLEM: record.reason} for record in unreadable]
    others = pa.Table.from_pylist(records, table.schema)
    return merge_tables(table, numbers.to_numpy(), others, others.column(ROW).to_numpy())


def _is_scalar(kind: pa.DataType) -> bool:
    """Whether values of this type can be converted to text; bytes cannot."""
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)) and not (
        pa.types.is_fixed_size_binary(kind)
    )


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the class names of the columns that a Hugging Face data set stores as class numbers."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    """Raise `DataRejected` if the Parquet file is damaged."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DataRejected(f"{path}: the Parquet file is damaged ({error}). Download it again.") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataRejected(f"{path}: the Parquet file is damaged ({error}). Download it again.") from error
