"""The bytes of a file, decompressed whatever its name says."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from polarity.errors import DataRejected

ENDINGS = (".gz", ".bz2", ".xz", ".zst", ".zip")
_ZIP, _ZSTD = b"PK\x03\x04", b"\x28\xb5\x2f\xfd"
_BLOCK_BYTES = 4 * 2**20


def bare_name(path: Path) -> str:
    """The file's name in lower case, without the ending of a compression."""
    name = path.name.lower()
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain file, or one compressed by gzip, bzip2, xz, zstd, or as the only member of a zip archive.

    Raises
    ------
    DataRejected
        If the file is damaged or cut off, or an archive holds more than one file.
    """
    with path.open("rb") as raw:
        magic = raw.read(6)
    try:
        if magic.startswith(_ZIP):
            with zipfile.ZipFile(path) as archive, archive.open(_only_member(archive, path)) as stream:
                yield stream
        elif magic.startswith(_ZSTD):
            with pa.input_stream(str(path), compression="zstd") as stream:
                yield stream
        else:
            openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
            opener: Any = next((found for start, found in openers.items() if magic.startswith(start)), open)
            with opener(path, "rb") as stream:
                yield stream
    except (EOFError, NotImplementedError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        # bz2 and Arrow report damage as an OSError without an errno, zipfile by a seek to nowhere; a disk that fails
        # reports another errno
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _damaged(path, error) from error


def blocks_of(path: Path) -> Iterator[bytes]:
    """The decompressed bytes of `path` in blocks of some megabytes."""
    with opened(path) as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block


def _only_member(archive: zipfile.ZipFile, path: Path) -> str:
    members = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if any(name.startswith("xl/") for name in members):
        raise DataRejected(f"{path} is an Excel workbook; save the sheet as CSV UTF-8 and use that file.")
    if len(members) != 1:
        listed = ", ".join(members[:5]) + (" …" if len(members) > 5 else "")
        raise DataRejected(f"{path} is a zip archive of {len(members)} files ({listed}); extract the one to read.")
    if archive.getinfo(members[0]).flag_bits & 1:
        raise DataRejected(f"{path} is a zip archive with a password; extract it first.")
    return members[0]


def _damaged(path: Path, error: Exception) -> DataRejected:
    return DataRejected(f"{path}: the compressed file is damaged or cut off ({error}). Get the file again.")
