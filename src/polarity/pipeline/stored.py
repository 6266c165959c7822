"""Entries of the result store: the folder of a step, and the record that describes it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from polarity.inference.package import MANIFEST, ModelManifest

_DATA_RECORDS = ("manifest.json", "splits.json")


@dataclass(frozen=True)
class Stored:
    """The result of a step: its folder, and whether it was already stored."""

    folder: Path
    key: str
    cached: bool


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
        """Read a result from its record."""
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
