"""Read tweets from a file of any size, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from polarity.config.sections import InputConfig
from polarity.data.dialect import Dialect, opened, own_name, read_head, refuse_binary, sniff, told, unbroken
from polarity.errors import DataRejected

ROW, REASON = "row", "reason"
_BLOCK_BYTES = 4 * 2**20
_BATCH_ROWS = 10_000


class TweetFile:
    """The rows of a CSV, TSV or Parquet file, plain or gzipped, without ever holding all of them.

    Parameters
    ----------
    path : Path
        The file.
    config : InputConfig
        How to read it.

    Raises
    ------
    ConfigurationError, DataRejected
        If it is no such file; a fault further inside it is raised when the reading comes there.
    """

    def __init__(self, path: Path, config: InputConfig) -> None:
        self.path = path
        with unbroken(path):
            head = read_head(path)
            self._dialect: Dialect | None = None
            if head.startswith(b"PAR1"):
                with _sound_parquet(path):
                    schema = pq.read_schema(path)
                self._original = {own_name(field.name): field.name for field in schema if not _nested(field.type)}
                self.columns = tuple(self._original)
            else:
                refuse_binary(head, path, config)
                self._dialect = sniff(path, head, config)
                self.columns = self._dialect.header

    def tables(self, *columns: str) -> Iterator[pa.Table]:
        """The rows in order, in tables of some thousands.

        Parameters
        ----------
        columns : str
            Of `self.columns`.

        Yields
        ------
        pyarrow.Table
            `row` (int64, counts the file's records from 1), the columns asked for (strings), and `reason`: why
            the row could not be read, if it could not.
        """
        with unbroken(self.path):
            yield from self._parquet(columns) if self._dialect is None else self._delimited(self._dialect, columns)

    def _parquet(self, columns: tuple[str, ...]) -> Iterator[pa.Table]:
        with _sound_parquet(self.path), pq.ParquetFile(self.path) as file:
            start = 1
            wanted = [self._original[name] for name in columns]
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
                values = {name: batch.column(self._original[name]).cast(pa.string()) for name in columns}
                yield _table(np.arange(start, start + batch.num_rows), values)
                start += batch.num_rows

    def _delimited(self, dialect: Dialect, columns: tuple[str, ...]) -> Iterator[pa.Table]:
        odd: dict[int, tuple[int, str]] = {}  # rows with another number of fields: record number -> fields, text

        def set_aside(row: pacsv.InvalidRow) -> str:
            odd[row.number - dialect.first_line + 1] = (row.actual_columns, row.text)
            return "skip"

        next_row = 1
        with told(self.path, dialect.encoding), opened(self.path) as stream:
            for batch in pacsv.open_csv(stream, **dialect.options(set_aside, block_bytes=_BLOCK_BYTES)):
                if not batch.num_rows:
                    continue
                # the parser reads ahead, so that every odd row before the batch's last is known by now
                numbers = _free_numbers(next_row, batch.num_rows, odd)
                table = _table(numbers, {name: batch.column(name) for name in columns})
                next_row = int(numbers[-1]) + 1
                here = sorted(number for number in odd if number < next_row)
                if here:
                    strays = _strays({number: odd.pop(number) for number in here}, dialect, table.schema)
                    table = pa.concat_tables([table, strays]).sort_by(ROW)
                yield table
        if odd:
            schema = pa.schema([(ROW, pa.int64()), *((name, pa.string()) for name in columns), (REASON, pa.string())])
            yield _strays(dict(sorted(odd.items())), dialect, schema)


def _table(numbers: npt.NDArray[np.int64], values: dict[str, pa.Array]) -> pa.Table:
    return pa.table({ROW: pa.array(numbers, pa.int64()), **values, REASON: pa.nulls(len(numbers), pa.string())})


def _free_numbers(start: int, count: int, taken: dict[int, tuple[int, str]]) -> npt.NDArray[np.int64]:
    """The first `count` record numbers from `start` on that no odd row has."""
    numbers = np.arange(start, start + count + len(taken))
    return numbers[~np.isin(numbers, list(taken))][:count]


def _strays(odd: dict[int, tuple[int, str]], dialect: Dialect, schema: pa.Schema) -> pa.Table:
    rows = []
    for number, (fields, text) in odd.items():
        record = dialect.mended(fields, text)
        reason = None if record else f"the row has {fields} fields, the header {len(dialect.header)}"
        rows.append({**(record or {}), ROW: number, REASON: reason})
    return pa.Table.from_pylist(rows, schema)


def _nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))


@contextmanager
def _sound_parquet(path: Path) -> Iterator[None]:
    """Refuse a damaged Parquet file in words."""
    try:
        yield
    except pa.ArrowInvalid as error:
        raise DataRejected(f"{path}: the Parquet file is damaged ({error}). Get the file again.") from error
