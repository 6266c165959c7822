"""Word vectors from GloVe's text format, plain, gzipped or zipped."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import IO, cast

import numpy as np

from polarity.errors import ConfigurationError, DataRejected
from polarity.text.tweets import FloatArray

SAMPLE_LINES = 200
"""Number of lines from which the vector size is inferred if there is no header."""
MAX_DEVIATING_SHARE = 0.01
"""Maximum share of lines without a word and its vector."""
MAX_AMBIGUOUS_SHARE = 0.1
"""Maximum share of lines whose word contains a space and ends in a number."""
LISTED_LINES = 5
"""Number of deviating lines that are listed."""
MAX_LINE_BYTES = 256 * 1024
"""Maximum length of a line: of a compressed file without line breaks, no more is read into memory."""
DIGITS = b"0123456789.-"
MAX_FLOAT32 = float(np.finfo(np.float32).max)
# spellings of NaN, infinity and missing values in Python, NumPy, pyarrow and the C libraries
NOT_FINITE = re.compile(rb"[+-]?(nan(\(.*\))?|inf(inity)?|1\.#(ind|qnan|snan|inf)\d*|#?n/?a|null|none)", re.IGNORECASE)


@dataclass(frozen=True)
class Vectors:
    """Word vectors.

    Parameters
    ----------
    words : dict
        Row of each word in `matrix`.
    matrix : float32 array of shape (n_words, size)
        One vector per row.
    """

    words: dict[str, int]
    matrix: FloatArray

    @property
    def size(self) -> int:
        """Dimension of the vectors."""
        return int(self.matrix.shape[1])


@dataclass(frozen=True)
class CheckedFile:
    """A vector file that has been read to its end.

    Parameters
    ----------
    size : int
        Dimension of the vectors.
    remarks : list of str
        Warnings about deviating lines that are too few to reject the file.
    """

    size: int
    remarks: list[str]


def read_vectors(path: Path, words: Collection[str]) -> Vectors:
    """Read only the vectors of `words`.

    If a word occurs more than once, its first vector is used. A small number of lines without a word and its vector is
    skipped; `check_vectors` reports them.

    Parameters
    ----------
    path : Path
        A text file with a word and its numbers on each line, in GloVe's format,
        optionally gzipped or zipped. word2vec's header line (count and
        dimension) is accepted. A file in a zip of several is given by its path
        inside: `glove.twitter.27B.zip/glove.twitter.27B.200d.txt`.
    words : collection of str
        The words to keep; use a set for fast look-ups.

    Raises
    ------
    ConfigurationError
        If the file does not exist, or is a zip of several files and none is chosen.
    DataRejected
        If the file is damaged or empty, contains a value that is not finite, or has too many deviating lines.
    """
    lines = _Lines(path)
    rows: dict[str, int] = {}
    numbers: list[int] = []
    values = array("f")
    for number, word, vector in lines:
        name = word.decode("utf-8", "replace")
        if name in words and name not in rows:
            try:
                values.extend(map(float, vector.split(b" ")))
            except ValueError:
                del values[len(rows) * lines.size :]
                lines.set_aside(number, word + b" " + vector)
                continue
            rows[name] = len(rows)
            numbers.append(number)
    lines.check_deviations()
    matrix = np.array(values, dtype=np.float32).reshape(len(rows), lines.size)
    finite = np.isfinite(matrix)
    if not finite.all():  # a number too large for float32; `_Lines` rejects NaN and infinity
        row, column = np.argwhere(~finite)[0]
        raise _not_finite_error(path, numbers[row], str(matrix[row, column]))
    return Vectors(rows, matrix)


def check_vectors(path: Path) -> CheckedFile:
    """Validate the whole file without keeping it in memory, at about disk speed.

    Raises
    ------
    ConfigurationError, DataRejected
        As `read_vectors`.
    """
    lines = _Lines(path)
    for _ in lines:
        pass
    lines.check_deviations()
    return CheckedFile(lines.size, lines.remarks())


class _Lines:
    """The lines of a file with a vector, as line number, word and numbers; the other lines are counted.

    A line should have one field more than the dimension of the vectors. If it has more, the word contains spaces, as
    `. . .` does in GloVe 840B. A word that ends in a number (`at 10`, in the NILC vectors) looks the same as a line
    with an extra number, so these lines are counted separately.

    Attributes
    ----------
    size : int
        Dimension of the vectors; known from the first line on.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._path = path
        self._has_header = False
        self._count = 0
        self._deviating, self._ambiguous = _Deviations(), _Deviations()
        self._cut_off = False

    def __iter__(self) -> Iterator[tuple[int, bytes, bytes]]:
        with _opened(self._path) as file:
            try:
                lines = self._bounded(file)
                sample = list(islice(lines, SAMPLE_LINES))
                first = self._measure(sample)
                number, raw = first - 1, b"\n"
                size, spaces = self.size, b" " * self.size
                for number, raw in enumerate(chain(sample[first - 1 :], lines), first):
                    line = raw.rstrip(b" \r\n")
                    start = line.find(b" ")
                    # fast path for almost every line: only digits, with a space before each number
                    if line[start:].translate(None, DIGITS) == spaces:
                        yield number, line[:start], line[start + 1 :]
                        continue
                    if (head := line.rsplit(b" ", size))[size:] and self._is_vector(number, b" ".join(head[1:])):
                        word = head[0].rstrip(b" ") or head[0]
                        if b" " in word and _is_number(word.rpartition(b" ")[2]):
                            self._ambiguous.add(number, self._problem(line))
                        yield number, word, b" ".join(head[1:])
                        continue
                    self.set_aside(number, line)
                    if number <= SAMPLE_LINES and self._deviating.count > SAMPLE_LINES / 2:
                        self._count = number
                        raise self._refusal(
                            self._deviating, MAX_DEVIATING_SHARE
                        )  # do not read on: the rest may be gigabytes of other data
            except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise DataRejected(f"'{self._path}' cannot be read to its end: {error}. Download it again.") from error
        self._count = number
        self._cut_off = not raw.endswith(b"\n") and self._deviating.last == number

    def _bounded(self, file: IO[bytes]) -> Iterator[bytes]:
        """The lines of the file as they are.

        Raises
        ------
        DataRejected
            If one has more than MAX_LINE_BYTES.
        """
        for number, line in enumerate(iter(partial(file.readline, MAX_LINE_BYTES + 1), b""), 1):
            if len(line) > MAX_LINE_BYTES:
                raise DataRejected(
                    f"'{self._path}', line {number} has more than {MAX_LINE_BYTES // 1024} KiB. Every line must "
                    "contain a word and its vector."
                )
            yield line

    def set_aside(self, number: int, line: bytes) -> None:
        """Count a line without a vector."""
        self._deviating.add(number, self._problem(line))

    def check_deviations(self) -> None:
        """Check that few of the lines deviate.

        Raises
        ------
        DataRejected
            If too many do; the message names the first one.
        """
        # an interrupted download ends within a line, which does not count against the file
        deviating = self._deviating.count - self._cut_off
        if deviating > MAX_DEVIATING_SHARE * self._count or self._deviating.count == self._count:
            raise self._refusal(self._deviating, MAX_DEVIATING_SHARE)
        if self._ambiguous.count > MAX_AMBIGUOUS_SHARE * self._count:
            raise self._refusal(self._ambiguous, MAX_AMBIGUOUS_SHARE)

    def remarks(self) -> list[str]:
        """Return a sentence about each kind of deviating line."""
        found = []
        if self._deviating.count:
            ending = "; the file is cut off in its last line" if self._cut_off else ""
            found.append(f"'{self._path}': skipped {self._deviating} without a word and {self.size} numbers{ending}.")
        if self._ambiguous.count:
            found.append(
                f"'{self._path}': read {self._ambiguous} as words that contain a space and end in a number, "
                f"because each vector has {self.size} numbers."
            )
        return found

    def _measure(self, sample: list[bytes]) -> int:
        """Set the size from word2vec's header or the first lines; return the number of the first line with a vector."""
        if sample:
            sample[0] = sample[0].removeprefix(codecs.BOM_UTF8)
            header = sample[0].split()
            if len(header) == 2 and all(part.isdigit() for part in header):
                self.size, self._has_header = int(header[1]), True
                if self.size < 1 or len(sample) == 1:
                    raise self._empty()
                return 2
        lines = [raw.rstrip(b" \r\n") for raw in sample]
        sizes = Counter(size for size in map(_trailing_numbers, lines) if size > 1)
        if sizes:
            self.size = sizes.most_common(1)[0][0]
            return 1
        if not any(lines):
            raise self._empty()
        number, line = next((number, line) for number, line in enumerate(lines, 1) if line)
        raise DataRejected(
            f"'{self._path}', line {number}: {line[:60]!r} is not a word and its numbers, "
            "separated by single spaces, as in GloVe's files."
        )

    def _is_vector(self, number: int, vector: bytes) -> bool:
        """Whether all fields are numbers.

        Raises
        ------
        DataRejected
            If all are numbers, but one is not finite.
        """
        not_finite = None
        for field in vector.split(b" "):
            if NOT_FINITE.fullmatch(field) or (_is_number(field) and not abs(float(field)) <= MAX_FLOAT32):
                not_finite = not_finite or field
            elif not _is_number(field):
                return False
        if not_finite:
            raise _not_finite_error(self._path, number, not_finite.decode("ascii", "replace"))
        return True

    def _problem(self, line: bytes) -> str:
        found = _trailing_numbers(line)
        fields = line.split(b" ")[-self.size :]
        wrong = next((field for field in reversed(fields) if not _is_number(field)), b"")
        if found < self.size < line.count(b" ") + 1 and wrong:
            text = wrong[:40].decode("utf-8", "replace")
            return f"'{text}' is not a number; expected a word and {self.size} numbers"
        source = "in the first line" if self._has_header else "on most lines"
        return f"found {found} numbers after the word, expected {self.size} as {source}"

    def _refusal(self, deviations: _Deviations, limit: float) -> DataRejected:
        return DataRejected(
            f"'{self._path}', line {deviations.first[0]}: {deviations.problem}. {deviations.count:,} of "
            f"{self._count:,} lines deviate; at most {limit:.0%} may. Every line must contain a word and its vector, "
            "all of the same length."
        )

    def _empty(self) -> DataRejected:
        return DataRejected(
            f"'{self._path}' contains no vectors; expected a word and its numbers on each line, as in GloVe's files."
        )


class _Deviations:
    """Deviating lines of one kind: the count, the first few line numbers, and the problem of the first."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[int] = []
        self.last = 0
        self.problem = ""

    def add(self, number: int, problem: str) -> None:
        self.problem = self.problem or problem
        if len(self.first) < LISTED_LINES:
            self.first.append(number)
        self.count += 1
        self.last = number

    def __str__(self) -> str:
        listed = ", ".join(map(str, self.first))
        more = ", ..." if self.count > len(self.first) else ""
        return f"{self.count:,} {'line' if self.count == 1 else 'lines'} (line {listed}{more})"


def _trailing_numbers(line: bytes) -> int:
    """Count the numeric fields at the end of a line, not including the first field (the word)."""
    fields = line.split(b" ")[1:]
    return sum(1 for _ in takewhile(_is_number, reversed(fields)))


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _not_finite_error(path: Path, number: int, value: str) -> DataRejected:
    return DataRejected(
        f"'{path}', line {number}: {value} is not a finite number and cannot be used for training. Correct or remove "
        "the line."
    )


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    archive, member = _split(path)
    if not archive.is_file():
        raise ConfigurationError(
            f"The vectors '{path}' do not exist; expected the path of a GloVe text file, plain, .gz or .zip."
        )
    with archive.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        try:
            if start[:2] == b"\x1f\x8b":
                yield io.BufferedReader(gzip.GzipFile(fileobj=file))
            elif start == b"PK\x03\x04":
                with (
                    zipfile.ZipFile(file) as zipped,
                    zipped.open(_member(zipped, archive, member)) as content,
                ):
                    # Its own reader finds the end of a line byte by byte if the length is bounded.
                    yield io.BufferedReader(cast(io.RawIOBase, content))
            else:
                yield file
        except zipfile.BadZipFile as error:
            raise DataRejected(f"'{archive}' is a damaged zip file: {error}. Download it again.") from error
        except NotImplementedError as error:  # Deflate64, say
            raise DataRejected(
                f"'{archive}' is a zip file that cannot be unpacked here: {error}. Extract it, and name the extracted "
                "file."
            ) from error


def _split(path: Path) -> tuple[Path, str | None]:
    """Split a path into the file and, if that is a zip, the path inside it."""
    for parent in path.parents:
        if parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return path, None


def _member(zipped: zipfile.ZipFile, archive: Path, wanted: str | None) -> zipfile.ZipInfo:
    members = {info.filename: info for info in zipped.infolist() if not info.is_dir()}
    if wanted is None and len(members) == 1:
        (wanted,) = members
    if wanted not in members:
        problem = f"contains no '{wanted}'" if wanted else f"contains {len(members)} files"
        raise ConfigurationError(
            f"'{archive}' {problem}; name one of them: " + ", ".join(f"'{archive}/{name}'" for name in members)
        )
    if members[wanted].flag_bits & 1:
        raise DataRejected(f"'{archive}' is a password-protected zip file; extract it, and name the extracted file.")
    return members[wanted]
