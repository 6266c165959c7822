"""Word vectors from GloVe's text format, plain, gzipped or zipped."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from polarity.errors import ConfigurationError
from polarity.text.tweets import FloatArray


@dataclass(frozen=True)
class Vectors:
    """Vectors of some words.

    Parameters
    ----------
    words : dict
        Row of each word in `matrix`.
    matrix : float32 array of shape (n_words, size)
        One vector a row.
    """

    words: dict[str, int]
    matrix: FloatArray

    @property
    def size(self) -> int:
        """Numbers in a vector."""
        return int(self.matrix.shape[1])


def read_vectors(path: Path, words: Collection[str]) -> Vectors:
    """Read the vectors of `words`, and no others.

    Parameters
    ----------
    path : Path
        A text file with a word and its numbers on each line, as GloVe writes
        it, or the same gzipped or zipped. word2vec's first line (how many, how
        long) is tolerated. Of a zip with several files one is named by its path
        inside: `glove.twitter.27B.zip/glove.twitter.27B.200d.txt`.
    words : collection of str
        The words to keep; a set, for speed.

    Raises
    ------
    ConfigurationError
        If the file is missing, empty, damaged, not of this format, or has lines of different lengths.
    """
    rows: dict[str, int] = {}
    vectors: list[FloatArray] = []
    for number, size, line in _checked_lines(path):
        word, *values = line.rsplit(b" ", size)
        name = word.decode("utf-8", "replace")
        if name in words and name not in rows:
            try:
                vector = np.array(values, dtype=np.float32)
            except ValueError as error:
                raise ConfigurationError(
                    f"'{path}', line {number}: {error}; expected a word and {size} numbers."
                ) from None
            rows[name] = len(vectors)
            vectors.append(vector)
    matrix = np.stack(vectors) if vectors else np.empty((0, size), dtype=np.float32)
    return Vectors(rows, matrix)


def check_vectors(path: Path) -> int:
    """Read the whole file without keeping it, at about the speed of the disk.

    Returns
    -------
    int
        Numbers in a vector.

    Raises
    ------
    ConfigurationError
        As `read_vectors`.
    """
    return max(size for _, size, _ in _checked_lines(path))


def _checked_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Line number, vector size and content of each line that holds a vector; at least one."""
    size = 0
    with _opened(path) as file:
        try:
            for number, raw in enumerate(file, 1):
                line = raw.rstrip(b" \r\n")
                spaces = line.count(b" ")
                if number == 1 and spaces == 1 and all(part.isdigit() for part in line.split()):
                    continue
                if not size:
                    size = _size_of(line, path=path, number=number)
                elif spaces != size and not _word_holds_spaces(line, size):
                    raise ConfigurationError(
                        f"'{path}', line {number}: found {spaces} numbers after the word, expected {size} "
                        "as in the lines before. Every line must hold a word and its vector, all of one length."
                    )
                yield number, size, line
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ConfigurationError(f"'{path}' cannot be read to its end: {error}. Download it again.") from error
    if not size:
        raise ConfigurationError(
            f"'{path}' holds no vectors; expected a word and its numbers on each line, as GloVe's files have."
        )


def _size_of(line: bytes, *, path: Path, number: int) -> int:
    fields = line.split(b" ")
    values = 0
    for field in reversed(fields[1:]):
        if not _is_number(field):
            break
        values += 1
    if values < 2:
        raise ConfigurationError(
            f"'{path}', line {number}: {line[:60]!r} is not a word and its numbers, "
            "separated by single spaces, as GloVe's files have."
        )
    return values


def _word_holds_spaces(line: bytes, size: int) -> bool:
    """Some files of GloVe have words such as ". . ."; a number before the vector means a line that is too long."""
    head = line.rsplit(b" ", size)
    return len(head) == size + 1 and not _is_number(head[0].rsplit(b" ", 1)[-1]) and _is_number(head[1])


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    archive, member = _split(path)
    if not archive.is_file():
        raise ConfigurationError(
            f"The vectors '{path}' do not exist; give the path of a GloVe text file, plain, .gz or .zip."
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
                    yield content
            else:
                yield file
        except zipfile.BadZipFile as error:
            raise ConfigurationError(f"'{archive}' is a damaged zip: {error}. Download it again.") from error


def _split(path: Path) -> tuple[Path, str | None]:
    """The file, and where it is a zip, what is meant inside."""
    for parent in path.parents:
        if parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return path, None


def _member(zipped: zipfile.ZipFile, archive: Path, wanted: str | None) -> str:
    names = [info.filename for info in zipped.infolist() if not info.is_dir()]
    if wanted in names:
        return str(wanted)
    if wanted is None and len(names) == 1:
        return names[0]
    asked = f"holds no '{wanted}'" if wanted else f"holds {len(names)} files"
    raise ConfigurationError(
        f"'{archive}' {asked}; name one of them: " + ", ".join(f"'{archive}/{name}'" for name in names)
    )
