"""Parse delimited text into records with line numbers; a stray quote does not swallow the following lines.

Most lines are plain: their quotes open and close fields within the line. NumPy finds them for a whole block at once,
and pyarrow parses them. The others are parsed one by one. A quoted field may contain line breaks, but if the lines that
it would swallow look like records themselves, if its closing quote is not followed by a separator, or if the file ends
first, the quote is stray and the line is parsed alone. Unreadable records are returned with their line and text.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

csv.field_size_limit(2**31 - 1)

_QUOTE, _NEWLINE, _RETURN = 0x22, 0x0A, 0x0D
# In a record of more lines, the quote is assumed to be unclosed.
_MAX_LINES = 500
# Every insertion adds two chunks to each column; more would cost the readers of the table more than a copy.
_MAX_INSERTIONS = 50

_Ints = npt.NDArray[np.int64]

_NUMBER = re.compile(r"\A[-+]?\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?\Z")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}|\d{1,2}:\d{2}")


@dataclass(frozen=True)
class Unreadable:
    """A record that could not be read.

    Attributes
    ----------
    row, line : int
        Number of the record and of its first line in the file, both counted from 1.
    raw : str
        Text of the record.
    reason : str
        Why it could not be read.
    """

    row: int
    line: int
    raw: str
    reason: str


@dataclass(frozen=True)
class Layout:
    """How the records of a file are delimited.

    Attributes
    ----------
    header : tuple of str
        Names of the columns.
    separator : str
        A single character.
    quoting : bool
        Whether fields may be quoted. If not, quotes are text, and extra separators belong to the last field.
    """

    header: tuple[str, ...]
    separator: str
    quoting: bool


@dataclass
class Profile:
    """What the columns of a file look like, to distinguish a record from a line of text inside a field."""

    patterns: dict[int, re.Pattern[str]] = field(default_factory=dict)
    values: dict[int, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Sequence[Sequence[str]]) -> Profile:
        """Infer the profile from a sample of records."""
        profile = cls()
        if len(records) < 3:
            return profile
        for place in range(len(records[0])):
            column = [record[place].strip() for record in records]
            distinct = frozenset(column)
            if sum(bool(_NUMBER.search(value)) for value in column) >= 0.98 * len(column):
                profile.patterns[place] = _NUMBER
            elif len(distinct) <= min(20, max(2, len(column) // 3)):
                profile.values[place] = distinct
            elif sum(bool(_DATE.search(value)) for value in column) >= 0.98 * len(column):
                profile.patterns[place] = _DATE
        return profile

    def fits(self, fields: Sequence[str], columns: int) -> bool:
        """Whether the fields of a line look like a record of the file; never if the profile is empty.

        A majority of the profiled columns is enough, because the sample may not have shown every value of a column.
        """
        if len(fields) != columns:
            return False
        looks = [bool(pattern.search(fields[place].strip())) for place, pattern in self.patterns.items()]
        looks += [fields[place].strip() in known for place, known in self.values.items()]
        return 2 * sum(looks) > len(looks)


@dataclass(frozen=True)
class Block:
    """A run of consecutive records.

    Attributes
    ----------
    table : pyarrow.Table
        The columns of the header as strings, n rows.
    rows, lines : int array of shape (n,)
        Number of each record and of its first line in the file, both counted from 1.
    unreadable : list of Unreadable
        Records of this block that are not in the table.
    """

    table: pa.Table
    rows: _Ints
    lines: _Ints
    unreadable: list[Unreadable]


class RecordReader:
    """Reader for the records after the header.

    Parameters
    ----------
    layout : Layout
        How the records are delimited.
    profile : Profile
        What the records look like.
    first_line : int
        Line of the first record, counted from 1.
    """

    def __init__(self, layout: Layout, profile: Profile, *, first_line: int) -> None:
        self._layout = layout
        self._profile = profile
        self._line = first_line
        self._row = 1

    def read(self, blocks: Iterable[bytes]) -> Iterator[Block]:
        """Read blocks of UTF-8 text with line feeds; some lines may be damaged."""
        rest = b""
        for block in blocks:
            data = rest + block
            cut = data.rfind(b"\n") + 1
            done = 0
            if cut:
                part = _Part(self._layout, self._profile, data[:cut], self._line)
                done = part.take(last=False)
                if done:
                    yield self._emit(part)
            rest = data[done:]
        if rest:
            part = _Part(self._layout, self._profile, rest if rest.endswith(b"\n") else rest + b"\n", self._line)
            part.take(last=True)
            yield self._emit(part)

    def _emit(self, part: _Part) -> Block:
        block = part.block(self._row)
        self._line += part.lines_read
        self._row += len(block.rows) + len(block.unreadable)
        return block


class _Part:
    """The records of a piece of text that ends at a line break."""

    def __init__(self, layout: Layout, profile: Profile, data: bytes, line: int) -> None:
        self._layout, self._profile, self._data, self._line = layout, profile, data, line
        self._columns = len(layout.header)
        self._ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)
        self._starts = np.concatenate([np.zeros(min(1, len(self._ends)), np.int64), self._ends[:-1] + 1])
        self._irregular = _irregular_lines(
            data, self._starts, self._ends, ord(layout.separator), quoting=layout.quoting
        )
        if not data.isascii():
            self._irregular = np.union1d(self._irregular, _damaged_lines(data, self._starts, self._ends))
        # Records by line number, counted from 0. Plain ones are parsed together later.
        self._pieces: list[bytes] = []
        self._plain_lines: list[_Ints] = []
        self._read: dict[int, list[str]] = {}
        self._rejected: dict[int, tuple[str, str]] = {}
        self.lines_read = 0

    def take(self, *, last: bool) -> int:
        """Take the records and return the bytes consumed; leave a record that may continue in the next piece."""
        at = 0
        for line in self._irregular.tolist():
            if line < at:
                continue  # inside a record of several lines
            self._take_plain(at, line)
            taken = self._take_one(line, last=last)
            if not taken:
                self.lines_read = line
                return int(self._starts[line])
            at = line + taken
        self._take_plain(at, len(self._ends))
        self.lines_read = len(self._ends)
        return len(self._data)

    def block(self, first_row: int) -> Block:
        """Return the records taken so far."""
        plain = np.concatenate(self._plain_lines) if self._plain_lines else np.empty(0, np.int64)
        kept = np.ones(len(plain), bool)
        for number, fields, text in self._parse(plain):
            kept[number - 1] = False
            self._assign(int(plain[number - 1]), fields, text.rstrip("\r\n"))
        lines, table = plain[kept], self._table
        if self._read:
            read = [dict(zip(self._layout.header, fields, strict=True)) for fields in self._read.values()]
            numbers = np.fromiter(self._read, np.int64, len(self._read))
            table = merge_tables(table, lines, pa.Table.from_pylist(read, table.schema), numbers)
            lines = np.sort(np.concatenate([lines, numbers]))
        rejected = np.array(sorted(self._rejected), np.int64)
        # A record's number is its rank among all lines on which a record begins.
        rows = first_row + np.arange(len(lines)) + np.searchsorted(rejected, lines)
        unreadable = [
            Unreadable(first_row + place + int(np.searchsorted(lines, line)), self._line + line, *self._rejected[line])
            for place, line in enumerate(rejected.tolist())
        ]
        return Block(table, rows, self._line + lines, unreadable)

    def _parse(self, plain: _Ints) -> list[tuple[int, int, str]]:
        """Parse the plain lines; return number, field count and text of those with the wrong number of fields."""
        wrong: list[tuple[int, int, str]] = []

        def note(row: pacsv.InvalidRow) -> str:
            wrong.append((row.number, row.actual_columns, row.text))
            return "skip"

        schema = pa.schema([(name, pa.string()) for name in self._layout.header])
        if not len(plain):
            self._table = schema.empty_table()
            return wrong
        data = b"".join(self._pieces)
        self._table = pacsv.read_csv(
            pa.BufferReader(data),
            read_options=pacsv.ReadOptions(
                use_threads=False, column_names=list(self._layout.header), block_size=len(data) + 1
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self._layout.separator,
                quote_char='"' if self._layout.quoting else False,
                newlines_in_values=False,
                invalid_row_handler=note,
                ignore_empty_lines=False,
            ),
            convert_options=pacsv.ConvertOptions(column_types=schema, strings_can_be_null=False, check_utf8=False),
        )
        return wrong

    def _take_plain(self, start: int, stop: int) -> None:
        if start < stop:
            self._pieces.append(self._data[self._starts[start] : self._ends[stop - 1] + 1])
            self._plain_lines.append(np.arange(start, stop))

    def _take_one(self, line: int, *, last: bool) -> int:
        """Take one record that is not plain; return its number of lines, or 0 if it may continue after this piece."""
        try:
            text = self._text(line)
        except UnicodeDecodeError as error:
            raw = self._data[self._starts[line] : self._ends[line]].decode("utf-8", "backslashreplace")
            self._rejected[line] = (raw, f"the line is not valid UTF-8 ({error.reason}, byte {error.start + 1})")
            return 1
        if not text.strip("\r\n"):
            return 1  # blank
        if not self._layout.quoting:
            content = text.rstrip("\r\n")
            self._assign(line, content.count(self._layout.separator) + 1, content)
            return 1
        stop = min(len(self._ends), line + _MAX_LINES)
        spanned = 0
        try:
            reader = csv.reader(map(self._text, range(line, stop)), delimiter=self._layout.separator, strict=True)
            fields = next(reader)
            spanned = reader.line_num
        except UnicodeDecodeError:
            pass
        except csv.Error as error:
            unfinished = "unexpected end" in str(error) and stop == len(self._ends) and stop - line < _MAX_LINES
            if unfinished and not last and not self._swallows(line, stop):
                return 0
        if spanned and (spanned == 1 or not self._swallows(line, line + spanned)):
            if len(fields) == self._columns:
                self._read[line] = fields
                return spanned
            if spanned > 1 and not any(self._is_complete(number) for number in range(line + 1, line + spanned)):
                whole = "".join(map(self._text, range(line, line + spanned)))
                self._reject(line, len(fields), whole.rstrip("\r\n"))
                return spanned
        self._take_alone(line, text.rstrip("\r\n"))
        return 1

    def _swallows(self, line: int, stop: int) -> bool:
        """Whether most lines after the first look like records of their own."""
        records = 0
        for number in range(line + 1, stop):
            text = self._data[self._starts[number] : self._ends[number]].decode("utf-8", "replace")
            records += self._profile.fits(_split_quoted(text.rstrip("\r"), self._layout.separator), self._columns)
        return records * 2 >= stop - line - 1 and records > 0

    def _is_complete(self, line: int) -> bool:
        """Whether a line on its own has as many fields as the header."""
        return len(_split_quoted(self._text(line).rstrip("\r\n"), self._layout.separator)) == self._columns

    def _take_alone(self, line: int, text: str) -> None:
        """Take a line that contains a stray quote."""
        literal = text.split(self._layout.separator)
        quoted = _split_quoted(text, self._layout.separator)
        for fields in (literal, quoted):
            if len(fields) == self._columns:
                self._read[line] = fields
                return
        self._reject(line, len(literal), text)

    def _assign(self, line: int, fields: int, text: str) -> None:
        """Take a line whose number of fields differs from the header's, or reject it."""
        if fields >= self._columns and (not self._layout.quoting or self._columns == 1):
            self._read[line] = text.split(self._layout.separator, self._columns - 1)
        else:
            self._reject(line, fields, text)

    def _reject(self, line: int, fields: int, text: str) -> None:
        plural = "s" * (fields != 1)
        self._rejected[line] = (text, f"the row has {fields} field{plural}, the header {self._columns}")

    def _text(self, line: int) -> str:
        return self._data[self._starts[line] : self._ends[line] + 1].decode()


def merge_tables(table: pa.Table, keys: _Ints, other: pa.Table, other_keys: _Ints) -> pa.Table:
    """Merge two tables of the same schema by their ascending, distinct keys; few insertions copy no data."""
    places, first = np.unique(np.searchsorted(keys, other_keys), return_index=True)
    if len(places) > _MAX_INSERTIONS:
        order = np.argsort(np.concatenate([keys, other_keys]), kind="stable")
        return pa.concat_tables([table, other]).take(pa.array(order))
    pieces, done = [], 0
    for place, start, stop in zip(places.tolist(), first.tolist(), [*first[1:].tolist(), len(other_keys)], strict=True):
        pieces += [table.slice(done, place - done), other.slice(start, stop - start)]
        done = place
    return pa.concat_tables([*pieces, table.slice(done)])


def split_records(text: str, separator: str, columns: int, *, max_records: int = 1000) -> list[list[str]]:
    """Return the records of a sample that are certainly complete: those with as many fields as the header."""
    records = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for fields in reader:
            if len(fields) == columns:
                records.append(fields)
            if len(records) == max_records:
                break
    except csv.Error:  # a stray quote
        lines = (_split_quoted(line, separator) for line in text.split("\n")[:max_records] if '"' not in line)
        records = [fields for fields in lines if len(fields) == columns] or records
    return records


def _split_quoted(text: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=separator), [])
    except csv.Error:  # a carriage return between the fields
        return text.split(separator)


def _irregular_lines(data: bytes, starts: _Ints, ends: _Ints, separator: int, *, quoting: bool) -> _Ints:
    """Find the lines that pyarrow might misread: blank lines, stray quotes, and line breaks inside fields."""
    view = np.frombuffer(data, np.uint8)
    length = ends - starts
    irregular: _Ints = np.flatnonzero(length == 0)
    if b"\r" in data:
        returns = np.flatnonzero(view == _RETURN)
        inside = returns[view[np.minimum(returns + 1, len(view) - 1)] != _NEWLINE]
        blank = (length == 1) & (view[starts] == _RETURN)
        irregular = np.unique(np.concatenate([irregular, np.searchsorted(ends, inside), np.flatnonzero(blank)]))
    if not quoting:
        return irregular
    quotes = np.flatnonzero(view == _QUOTE)
    if not len(quotes):
        return irregular
    # In most lines, quotes open behind a separator and close before one, by turns; only other lines are looked into.
    edges = np.searchsorted(quotes, ends)
    counts = np.diff(edges, prepend=0)
    closing = (np.arange(len(quotes)) - np.repeat(edges - counts, counts)) & 1
    beside = view[quotes - 1 + 2 * closing]  # the last byte, which is a line feed, is before the first one
    usual = (beside == separator) | (beside == _NEWLINE) | ((beside == _RETURN) & (closing == 1))
    odd = counts & 1 == 1
    odd[np.searchsorted(ends, quotes[~usual])] = True
    if not odd.any():
        return irregular
    lines = np.flatnonzero(odd)
    found = lines[_misread(view, quotes[np.repeat(odd, counts)], ends[lines], separator)]
    every: _Ints = np.unique(np.concatenate([irregular, found]))
    return every


def _misread(view: npt.NDArray[np.uint8], quotes: _Ints, ends: _Ints, separator: int) -> _Ints:
    """Find the lines, of those that end at `ends` and have these quotes, whose quotes do not belong to fields."""
    # Pairs in a run of quotes are escaped quotes or an empty field. Only runs of odd length open or close a field.
    first = np.empty(len(quotes), bool)
    first[0] = True
    np.not_equal(quotes[1:] - quotes[:-1], 1, out=first[1:])
    begin = quotes[first]
    places = np.flatnonzero(first)
    run = np.append(places[1:], len(quotes)) - places
    before, after = view[begin - 1], view[np.minimum(begin + run, len(view) - 1)]
    opens = (before == separator) | (before == _NEWLINE)
    opens[0] |= begin[0] == 0
    closes = (after == separator) | (after == _NEWLINE) | (after == _RETURN)
    single = (run & 1).astype(bool)
    # number of odd-length runs before each run of a line
    upto = np.cumsum(single)
    edges = np.searchsorted(begin, ends)
    total = np.append(0, upto)[edges]
    counts = np.diff(total, prepend=0)
    line = np.repeat(np.arange(len(ends)), np.diff(edges, prepend=0))
    outside = ((upto - single - (total - counts)[line]) & 1) == 0
    # a run of even length outside a field is either an empty field or irregular
    right = np.where(outside, opens & (single | (closes & (run == 2))), closes | ~single)
    found: _Ints = np.unique(np.concatenate([line[~right], np.flatnonzero(counts & 1)]))
    return found


def _damaged_lines(data: bytes, starts: _Ints, ends: _Ints) -> _Ints:
    """Find the lines that are not valid UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        beyond_ascii = np.unique(np.searchsorted(ends, np.flatnonzero(np.frombuffer(data, np.int8) < 0)))
        return np.array(
            [line for line in beyond_ascii.tolist() if _is_damaged(data[starts[line] : ends[line]])], np.int64
        )
    return np.empty(0, np.int64)


def _is_damaged(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return True
    return False
