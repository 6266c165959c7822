"""Entries of the result store: the folder of a step, and the record that describes it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from polarity.inference.package import MANIFEST, ModelManifest

LONGEST_NAME_BYTES = 255
_DATA_RECORDS = ("manifest.json", "splits.json")


@dataclass(frozen=True)
class Stored:
    """The result of a step: its folder, and whether it was already stored."""

    folder: Path
    key: str
    cached: bool


@dataclass(frozen=True)
class Unfinished:
    """The checkpoints of a step that has not ended: their folder, and when the last one was written."""

    folder: Path
    last_change: datetime
    remote_bytes: int = 0

    def __str__(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.stem}"


@dataclass(frozen=True)
class StoreRecord:
    """A result in the store, as described by its record."""

    step: str
    folder: Path
    parts: Mapping[str, str]
    files: Mapping[str, str]
    """The sha256 of each file."""
    size_bytes: int
    outputs: frozenset[str]
    """Digests that a later step can have as its input: those of the files and of the data sets in them."""
    last_used: datetime
    """When it was created or last recalled."""

    @classmethod
    def read(cls, record: Mapping[str, Any], folder: Path, last_used: datetime) -> StoreRecord:
        """Read a result from its record.

        Raises
        ------
        ValueError
            If the record is not one of a result in this folder.
        """
        check_record(record, step=folder.parent.name)
        if "data" not in record:  # written before records contained it
            record = {
                **record,
                "bytes": size_bytes(folder, record["files"]),
                "data": data_digests(folder, record["files"]),
            }
        outputs = frozenset([*record["files"].values(), *record["data"]])
        return cls(record["step"], folder, record["parts"], record["files"], record["bytes"], outputs, last_used)

    @property
    def inputs(self) -> frozenset[str]:
        """The digests of its inputs."""
        return frozenset(value for part, value in self.parts.items() if part.startswith("input:"))

    def __str__(self) -> str:
        return f"{self.step}/{self.folder.name}"


def check_record(record: Any, *, step: str) -> None:
    """Raise ValueError unless `record` describes a result of this step, whose files lie inside its folder.

    Records of a shared store come from other machines, and their names become paths on this one.
    """
    if not isinstance(record, dict) or record.get("step") != step or not re.fullmatch(r"[\w-]+", step):
        raise ValueError(f"it is not a record of the step {step}")
    files, parts, size, data = (record.get(name) for name in ("files", "parts", "bytes", "data"))
    if not isinstance(files, dict) or not isinstance(parts, dict):
        raise ValueError("it has no files or no parts")
    if not all(isinstance(value, str) for value in parts.values()):
        raise ValueError("its parts are not texts")
    if size is not None and (type(size) is not int or size < 0):
        raise ValueError(f"its size is {size!r}")
    if data is not None and not (isinstance(data, list) and all(isinstance(digest, str) for digest in data)):
        raise ValueError("its data digests are not texts")
    for name, digest in files.items():
        if not _is_inside(name):
            raise ValueError(f"it names the file {name!r}, which is not inside its folder")
        if any(parent.as_posix() in files for parent in PurePosixPath(name).parents):
            raise ValueError(f"it names the file {name!r} and, as a file, a folder above it")
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"the digest of {name!r} is not a sha256")


def _is_inside(name: str) -> bool:
    """Whether a name is a plain relative path, as `Path.as_posix` writes one."""
    path = PurePosixPath(name)
    return (
        name == path.as_posix()
        and not path.is_absolute()
        and bool(path.parts)
        and ".." not in path.parts
        and not re.search(r"[\\\x00-\x1f]", name)
        and all(len(os.fsencode(part)) <= LONGEST_NAME_BYTES for part in path.parts)
    )


def data_digests(folder: Path, files: Iterable[str]) -> list[str]:
    """The digests of the data sets and packaged models in a result, which are independent of the file format."""
    found: list[str] = []
    for name in files:
        if Path(name).name in _DATA_RECORDS and (folder / name).exists():
            record = json.loads((folder / name).read_text())
            found += [record["digest"]] if "digest" in record else record["digests"].values()
        elif Path(name).name == MANIFEST:
            found.append(ModelManifest.read((folder / name).parent, check=False).digest)
    return sorted(found)


def size_bytes(folder: Path, files: Iterable[str]) -> int:
    return sum((folder / name).stat().st_size for name in files if (folder / name).exists())


def write_atomically(path: Path, text: str) -> None:
    """Write a file atomically."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    os.replace(draft, path)
