"""The format of a file, detected from its content: encoding, line ends, separator, quoting, header."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import charset_normalizer
import puremagic

from polarity.config.sections import FileConfig
from polarity.data.columns import LABEL_NAMES, SENTIMENT140, TEXT_NAMES
from polarity.data.compression import bare_name, open_decompressed, read_blocks
from polarity.data.records import Layout, Profile, RecordReader, split_records
from polarity.errors import ConfigurationError, DataRejected

SAMPLE_BYTES = 2**20
_SAMPLE_LINES = 2000
_RESERVED = {"row", "key"}  # columns added by the project
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SEPARATORS = (",", ";", "\t", "|")
_GENERAL_NAMES = frozenset((*TEXT_NAMES, *LABEL_NAMES))


@dataclass(frozen=True)
class Dialect:
    """How to read a delimited file.

    Attributes
    ----------
    layout : Layout
        Header, separator and quoting.
    profile : Profile
        What the records look like.
    encoding : str
        Encoding of the whole file; if it is UTF-8, single lines may be damaged.
    newline : str
        Line feed (also for CRLF), or carriage return.
    lines_before : int
        Lines before the first record: the header, and blank lines or a `sep=` line before it.
    """

    layout: Layout
    profile: Profile
    encoding: str
    newline: str
    lines_before: int

    def reader(self) -> RecordReader:
        """Return a reader for the blocks of `records`."""
        return RecordReader(self.layout, self.profile, first_line=self.lines_before + 1)

    def records(self, path: Path) -> Iterator[bytes]:
        """Yield the text of `path` after the header: UTF-8, with line feeds.

        Raises
        ------
        DataRejected
            If the file is damaged or does not match its encoding.
        """
        left = self.lines_before
        for block in to_utf8(read_blocks(path), self.encoding, path):
            text = block.replace(b"\r", b"\n") if self.newline == "\r" else block
            while left and text:
                _, newline, text = text.partition(b"\n")
                left -= len(newline)
            if text:
                yield text

    def __str__(self) -> str:
        """Return a description for the log."""
        separator = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}.get(
            self.layout.separator, repr(self.layout.separator)
        )
        quoted = "quoted fields" if self.layout.quoting else "no quoting"
        return f"{self.encoding}, {separator}, {quoted}"


def detect_dialect(path: Path, config: FileConfig) -> Dialect:
    """Detect the dialect of a file from its content; options that `config` sets take precedence.

    Raises
    ------
    ConfigurationError, DataRejected
        If an option is invalid or does not fit the file, or there is no header.
    """
    if config.separator is not None and len(config.separator) != 1:
        raise ConfigurationError(f"Got data.separator={config.separator!r}; it must be one character.")
    with open_decompressed(path) as stream:
        head = stream.read(SAMPLE_BYTES)
    encoding = config.encoding or detect_encoding(path, head)
    whole = len(head) < SAMPLE_BYTES
    text = b"".join(to_utf8([head], encoding, path, whole=whole)).decode("utf-8", "replace")
    newline = "\r" if "\r" in text and "\n" not in text else "\n"
    lines = text.replace("\r", "\n").split("\n") if newline == "\r" else text.split("\n")
    if not whole and len(lines) > 1:
        lines.pop()  # cut off
    before = next((number for number, line in enumerate(lines) if line.strip("\r \t")), 0)
    separator = config.separator
    if lines[before].lower().startswith("sep=") and len(lines[before].strip()) <= 5:
        separator = separator or lines[before].rstrip("\r\n")[4:5] or None
        before += 1
    lines = lines[before : before + _SAMPLE_LINES]
    if not lines:
        raise DataRejected(f"{path} is empty; a header and at least one row are needed.")
    separator = separator or _detect_separator(lines, path, config)
    names = _first_record(lines, separator, path)
    original = config.text_column is None and _is_sentiment140(names)
    headless = config.header == "none" or (original and not _is_numbering(names))
    header: tuple[str, ...]
    if original:
        header = SENTIMENT140
        if config.encoding is None and encoding not in ("utf-8", "utf-16", "utf-32"):
            encoding = "iso-8859-1"
    elif config.header == "none":
        header = tuple(f"column_{position}" for position in range(1, len(names) + 1))
    else:
        header = header_names(names, path)
    spanned = 0 if headless else 1
    body = [line for line in lines[spanned:] if line.strip("\r")]
    quoting = config.quoting
    if quoting is None:
        quoting = separator != "\t" or _is_quoted(body, separator, len(header))
    profile = Profile.of(split_records("\n".join(body), separator, len(header)) if quoting else [])
    return Dialect(Layout(header, separator, quoting), profile, encoding, newline, before + spanned)


def detect_encoding(path: Path, head: bytes) -> str:
    """Detect the encoding of a file from its byte order mark or, if it has none, from all of its lines.

    A few damaged lines do not rule out UTF-8. If most non-ASCII lines are not UTF-8, charset-normalizer decides.
    """
    for mark, name in _BOMS.items():
        if head.startswith(mark):
            return name
    zeros = [head[start:4096:2].count(0) for start in (0, 1)]
    if sum(zeros) > len(head[:4096]) // 5:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    beyond_ascii: list[bytes] = []
    damaged = total = 0
    rest = b""
    for block in read_blocks(path):
        data = rest + block
        cut = data.rfind(b"\n") + 1 or len(data)
        data, rest = data[:cut], data[cut:]
        if data.isascii():
            continue
        try:
            data.decode()
        except UnicodeDecodeError:
            some = [line for line in data.split(b"\n") if not line.isascii()]
            wrong = [line for line in some if not _is_utf8(line)]
            total, damaged = total + len(some), damaged + len(wrong)
            beyond_ascii += wrong[: 2000 - len(beyond_ascii)]
        else:
            total += data.count(b"\n")
    if rest and not _is_utf8(rest):
        damaged, total, beyond_ascii = damaged + 1, total + 1, [*beyond_ascii, rest]
    if damaged * 2 <= total or not damaged:
        return "utf-8"
    return _single_byte_encoding(b"\n".join(beyond_ascii))


def to_utf8(blocks: Iterable[bytes], encoding: str, path: Path, *, whole: bool = True) -> Iterator[bytes]:
    """Convert blocks from `encoding` to UTF-8 and remove the byte order mark.

    UTF-8 itself is passed on unchanged: the record reader sets damaged lines aside.

    Raises
    ------
    ConfigurationError
        If the encoding is unknown.
    DataRejected
        If the text is not in this encoding.
    """
    try:
        name = codecs.lookup(encoding).name
        decoder = codecs.getincrementaldecoder(encoding)()
    except LookupError as error:
        raise ConfigurationError(
            f"Got data.encoding={encoding!r}, which is not the name of a codec; try utf-8 or iso-8859-1."
        ) from error
    first = True
    try:
        for block in blocks:
            text = block if name in ("utf-8", "utf-8-sig") else decoder.decode(block).encode("utf-8")
            yield text.removeprefix(codecs.BOM_UTF8) if first else text
            first = first and not text
        if whole and name not in ("utf-8", "utf-8-sig"):
            yield decoder.decode(b"", final=True).encode("utf-8")
    except UnicodeError as error:
        raise DataRejected(
            f"{path} is not in {encoding} ({error}). Set the right encoding, e.g. --data.encoding cp1252 or iso-8859-1."
        ) from error


def reject_other_formats(path: Path, head: bytes, config: FileConfig) -> None:
    """Reject files that are clearly not text tables.

    Raises
    ------
    DataRejected
        The message names the format and what to do instead.
    """
    start = head[:1024].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise DataRejected(
            f"{path} is a Git LFS pointer, not the data: run `git lfs pull` in its repository to get the file."
        )
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")):
        kind = "an XML file" if start.startswith(b"<?xml") else "a web page (HTML), perhaps a login page"
        raise DataRejected(f"{path} is {kind}, not a table. Download the data itself.")
    if start.startswith(b"{\\rtf"):
        raise DataRejected(f"{path} is an RTF document, not a table; save it as CSV UTF-8.")
    if start.startswith(b"%pdf"):
        raise DataRejected(f"{path} is a PDF document, not a table; a CSV, TSV, JSON, Parquet or Excel file is needed.")
    sample = head[:4096]
    if config.encoding is not None or sample.startswith(tuple(_BOMS)):
        return
    controls = sum(sample.count(byte) for byte in bytes({*range(32)} - {0, 9, 10, 12, 13, 27}))
    zeros = sample.count(0)
    if controls * 20 > len(sample) or (zeros * 100 > len(sample) and not _looks_like_utf16(sample)):
        raise DataRejected(
            f"{path} is {_describe_format(head)}, not a text table; a CSV, TSV, JSON, Parquet or Excel file is needed."
        )


def unreserved_name(name: str) -> str:
    """Return the name for a column of the file that does not clash with the project's own columns."""
    return f"{name}_" if name in _RESERVED else name


def _describe_format(head: bytes) -> str:
    try:
        return f"a binary file ({puremagic.magic_string(head)[0].name})"
    except (puremagic.PureError, ValueError, IndexError):
        return "a binary file"


def _looks_like_utf16(sample: bytes) -> bool:
    zeros = [sample[start::2].count(0) for start in (0, 1)]
    return max(zeros) > len(sample) // 6 and min(zeros) * 20 < max(zeros)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _single_byte_encoding(sample: bytes) -> str:
    """Guess the encoding of text that is not UTF-8; Western European unless a different one is clearly right."""
    best = charset_normalizer.from_bytes(sample).best()
    if best is not None and best.encoding not in ("cp1250", "cp1257", "cp1258", "latin_1", "ascii"):
        language = best.language
        if language not in ("Unknown", "English") or best.encoding.startswith(("shift", "euc", "gb", "big5", "cp9")):
            return "cp1252" if best.encoding == "cp1252" else best.encoding
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        return "iso-8859-1"
    return "cp1252"


def _detect_separator(lines: list[str], path: Path, config: FileConfig) -> str:
    """Choose the separator that yields known column names and a consistent number of fields."""
    tabs = bare_name(path).endswith((".tsv", ".tab"))
    candidates = ("\t", *(mark for mark in _SEPARATORS if mark != "\t")) if tabs else _SEPARATORS
    wanted = {config.text_column, getattr(config, "label_column", None)} - {None}

    def score(separator: str) -> tuple[bool, bool, float, int]:
        names = [name.strip() for name in _fields(lines[0], separator)]
        counts = [len(_fields(line, separator)) for line in lines[1:200] if line.strip("\r")]
        share = sum(count == len(names) for count in counts) / max(1, len(counts))
        known = bool(wanted & set(names)) or (not wanted and any(name.lower() in _GENERAL_NAMES for name in names))
        return len(names) > 1, known, round(share, 1), len(names)

    best = max(candidates, key=score)  # the first one wins a tie
    return best if score(best)[0] else candidates[0]


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=separator), [])
    except csv.Error:
        return line.split(separator)


def _is_quoted(lines: list[str], separator: str, columns: int) -> bool:
    """Whether quotes around fields are quoting: they are closed, and are either needed or used throughout."""
    closed = stray = needed = records = 0
    at = 0
    while at < len(lines):
        records += 1
        line = lines[at].rstrip("\r\n")
        if not any(value.startswith('"') for value in line.split(separator)):
            at += 1
            continue
        reader = csv.reader((f"{text}\n" for text in lines[at : at + 50]), delimiter=separator, strict=True)
        try:
            fields = next(reader)
        except (csv.Error, StopIteration):
            fields = []
        if len(fields) != columns:
            stray += 1
            at += 1
            continue
        closed += 1
        needed += any(mark in value for value in fields for mark in (separator, "\n", '"'))
        at += max(1, reader.line_num)
    return closed > 0 and stray * 10 <= closed and (needed > 0 or closed * 10 >= records * 9)


def _first_record(lines: list[str], separator: str, path: Path) -> list[str]:
    names = [name.strip() for name in _fields(lines[0], separator)]
    if not names:
        raise DataRejected(f"{path}: no header could be read.")
    return names


def _is_sentiment140(names: list[str]) -> bool:
    """Whether the first record is one of the original Sentiment140, or pandas' numbering of its columns."""
    return len(names) == 6 and (_is_numbering(names) or (names[0] in {"0", "2", "4"} and names[1].isdigit()))


def _is_numbering(names: list[str]) -> bool:
    return names == [str(position) for position in range(len(names))]


def header_names(names: list[str], path: Path) -> tuple[str, ...]:
    """The columns of a header: those without a name get one, and none clashes with the project's own.

    Raises
    ------
    DataRejected
        If a name occurs twice.
    """
    for position, name in enumerate(names):
        if name in names[:position] and name:
            raise DataRejected(
                f"{path}: the column {name!r} occurs twice; give each column a unique name, or use "
                "--data.header none if the first line is a record."
            )
    taken = set(names)
    header = []
    for position, name in enumerate(names, 1):
        own = unreserved_name(name) or f"column_{position}"
        while own != name and own in taken:
            own += "_"
        header.append(own)
        taken.add(own)
    return tuple(header)
