"""How a file writes its rows down: compression, encoding, separator, quoting, header."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pacsv

from polarity.config.sections import DataConfig, InputConfig
from polarity.data.columns import SENTIMENT140
from polarity.errors import ConfigurationError, DataRejected

HEAD_BYTES = 64 * 1024
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


@dataclass(frozen=True)
class Dialect:
    """How to read a delimited file."""

    header: tuple[str, ...]
    separator: str
    quoting: bool
    encoding: str
    has_header: bool

    @property
    def first_line(self) -> int:
        """The line of the first record, counted from 1."""
        return 2 if self.has_header else 1

    def options(
        self, set_aside: Callable[[pacsv.InvalidRow], str], *, block_bytes: int | None = None
    ) -> dict[str, Any]:
        """Arguments of `pyarrow.csv.read_csv` and `open_csv`: every column is read as strings.

        Parameters
        ----------
        set_aside : callable
            Called with each row that has another number of fields than the header; returns `"skip"`.
        block_bytes : int, optional
            Size of what is parsed at once.
        """
        return {
            "read_options": pacsv.ReadOptions(
                use_threads=False,  # record numbers are known only so
                encoding=self.encoding,
                column_names=list(self.header),
                skip_rows=1 if self.has_header else 0,
                **({"block_size": block_bytes} if block_bytes else {}),
            ),
            "parse_options": pacsv.ParseOptions(
                delimiter=self.separator,
                quote_char='"' if self.quoting else False,
                newlines_in_values=self.quoting,
                invalid_row_handler=set_aside,
                ignore_empty_lines=True,
            ),
            "convert_options": pacsv.ConvertOptions(
                column_types={name: pa.string() for name in self.header}, strings_can_be_null=False
            ),
        }

    def mended(self, fields: int, text: str) -> dict[str, str | None] | None:
        """The record of a row whose number of fields is not the header's; none if nobody can tell which is which.

        Without quoting, separators too many belong to the last field (a tweet with a tab inside).
        """
        if self.quoting or fields <= len(self.header):
            return None
        values: list[str | None] = list(text.rstrip("\r\n").split(self.separator, len(self.header) - 1))
        return dict(zip(self.header, values, strict=True))


def sniff(path: Path, head: bytes, config: DataConfig | InputConfig) -> Dialect:
    """The dialect of a file that begins with `head`, as far as `config` does not give it.

    Raises
    ------
    ConfigurationError, DataRejected
        If an option does not fit, or there is no header.
    """
    original = config.text_column is None and _is_sentiment140(head)
    tabs = path.name.removesuffix(".gz").lower().endswith((".tsv", ".tab"))
    separator = config.separator or ("\t" if tabs else ",")
    if len(separator) != 1:
        raise ConfigurationError(f"Got data.separator={separator!r}; it must be one character.")
    quoting = config.quoting if config.quoting is not None else separator != "\t"
    encoding = config.encoding or ("iso-8859-1" if original else "utf-8")
    with told(path, encoding):
        header = SENTIMENT140 if original else tuple(_header(head, separator, quoting, encoding, path))
    return Dialect(header, separator, quoting, encoding, has_header=not original)


def read_head(path: Path) -> bytes:
    """The first bytes of a file, unpacked.

    Raises
    ------
    DataRejected
        If there is nothing in it.
    """
    with opened(path) as stream:
        head = stream.read(HEAD_BYTES)
    if not head.strip():
        raise DataRejected(f"{path} is empty; a header and at least one row are needed.")
    return head


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked if they are gzipped whatever the name says."""
    with path.open("rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if gzipped else path.open("rb") as stream:
        yield stream  # type: ignore[misc]  # GzipFile reads bytes as IO[bytes] does


def refuse_binary(head: bytes, path: Path, config: DataConfig | InputConfig) -> None:
    """Refuse what is plainly no table of text, and say what it is."""
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


@contextmanager
def unbroken(path: Path) -> Iterator[None]:
    """Refuse a damaged file in words."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataRejected(f"{path}: the gzip file is damaged or cut off ({error}). Get the file again.") from error
    except OSError as error:
        if isinstance(error, pa.ArrowException):
            raise DataRejected(f"{path}: {error}") from error
        raise


@contextmanager
def told(path: Path, encoding: str) -> Iterator[None]:
    """Refuse what cannot be read as a table in words."""
    try:
        yield
    except (pa.ArrowInvalid, UnicodeError, LookupError) as error:
        raise _refusal(error, path, encoding) from error


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
    return [own_name(name) or f"column_{position + 1}" for position, name in enumerate(names)]


def own_name(name: str) -> str:
    """The name of a column of the file beside the project's own."""
    return f"{name}_" if name in _RESERVED else name
