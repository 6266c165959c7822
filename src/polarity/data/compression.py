"""Read plain and compressed files; the compression is detected from the content, not from the file name."""

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

EXTENSIONS = (".gz", ".bz2", ".xz", ".zst", ".zip")
_ZIP, _ZSTD = b"PK\x03\x04", b"\x28\xb5\x2f\xfd"
_BLOCK_BYTES = 4 * 2**20


def bare_name(path: Path) -> str:
    """Return the lower-case file name without the extension of a compression format."""
    name = path.name.lower()
    return next((name.removesuffix(extension) for extension in EXTENSIONS if name.endswith(extension)), name)


@contextmanager
def open_decompressed(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain file, one compressed with gzip, bzip2, xz or zstd, or the only member of a zip archive.

    Raises
    ------
    DataRejected
        If the file is damaged or cut off, or an archive does not contain exactly one file.
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
        # bz2 and Arrow report damage as an OSError without an errno, and zipfile as an invalid seek (EINVAL);
        # a failing disk reports a different errno
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _damaged(path, error) from error


def read_blocks(path: Path) -> Iterator[bytes]:
    """Yield the decompressed bytes of `path` in blocks of a few megabytes."""
    with open_decompressed(path) as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block


def _only_member(archive: zipfile.ZipFile, path: Path) -> str:
    members = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(members) != 1:
        listed = ", ".join(members[:5]) + (" …" if len(members) > 5 else "")
        raise DataRejected(f"{path} is a zip archive of {len(members)} files ({listed}); extract the right one.")
    if archive.getinfo(members[0]).flag_bits & 1:
        raise DataRejected(f"{path} is a password-protected zip archive; extract it first.")
    return members[0]


def _damaged(path: Path, error: Exception) -> DataRejected:
    return DataRejected(f"{path}: the compressed file is damaged or cut off ({error}). Download it again.")
