"""The files behind `--data.path`: a file, or all files of a folder in a stable order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from polarity.config.credentials import without_credentials
from polarity.data.addresses import local_copy
from polarity.data.compression import bare_name
from polarity.errors import ConfigurationError

ENDINGS = (".csv", ".tsv", ".tab", ".parquet", ".jsonl", ".ndjson", ".xlsx")
"""Files of a folder that are read; `.json` and `.txt` may be anything, and are read only if named themselves."""
_LISTED_FILES = 5
"""How many files that are not read are named."""


@dataclass(frozen=True)
class TweetFiles:
    """The files to read.

    Attributes
    ----------
    path : Path
        The file or folder, or the copy of what is at an address.
    files : dict of str to Path
        The file, or the files of the folder by their name relative to it, sorted by name.
    passed_over : tuple of str
        Files of the folder that are not read, because of their ending.
    address : str or None
        The address of which `path` is a copy.
    """

    path: Path
    files: dict[str, Path]
    passed_over: tuple[str, ...] = ()
    address: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether a folder was given, even if it contains a single file."""
        return list(self.files.values()) != [self.path]

    @property
    def source(self) -> str:
        """The path or the address, without credentials, for messages and records."""
        return str(self.path) if self.address is None else without_credentials(self.address)

    def remarks(self) -> list[str]:
        """Return what the user should know before the files are read."""
        if not self.passed_over:
            return []
        count = len(self.passed_over)
        listed = ", ".join(self.passed_over[:_LISTED_FILES]) + (", ..." if count > _LISTED_FILES else "")
        return [
            f"Not read: {count:,} {'file' if count == 1 else 'files'} in {self.source} ({listed}). Of a folder, files "
            f"ending in {', '.join(ENDINGS)} are read, plain or compressed; any other file has to be given to "
            "--data.path itself."
        ]


def find_files(path: Path | str) -> TweetFiles:
    """Return the files behind `path`; hidden files and folders are skipped.

    Parameters
    ----------
    path : Path or str
        An address (str) is copied first.

    Raises
    ------
    ConfigurationError
        If it does not exist, or is a folder without a file to read.
    ServiceUnavailable
        If the files at an address cannot be copied.
    """
    if isinstance(path, str):
        return replace(find_files(local_copy(path)), address=path)
    if path.is_file():
        return TweetFiles(path, {path.name: path})
    if not path.is_dir():
        raise ConfigurationError(
            f"{path} does not exist; --data.path must be a CSV, TSV, JSON, Parquet or Excel file, or a folder of them."
        )
    there = {name.as_posix(): path / name for name in sorted(found.relative_to(path) for found in path.rglob("*"))}
    there = {name: file for name, file in there.items() if file.is_file() and not _is_hidden(name)}
    files = {name: file for name, file in there.items() if bare_name(file).endswith(ENDINGS)}
    if not files:
        raise ConfigurationError(f"{path} contains no file ending in {', '.join(ENDINGS)}, plain or compressed.")
    return TweetFiles(path, files, tuple(name for name in there if name not in files))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
