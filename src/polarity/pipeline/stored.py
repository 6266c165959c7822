"""What is in a store of results: a step's folder, and the record that describes it."""

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
    """A step's result: its folder, and whether it was there before."""

    folder: Path
    key: str
    cached: bool


@dataclass(frozen=True)
class StoreRecord:
    """A result in the store, as its record describes it."""

    step: str
    folder: Path
    parts: Mapping[str, str]
    files: Mapping[str, str]
    """The sha256 of each file."""
    size_bytes: int
    made: frozenset[str]
    """What a later step can name as its input: the digests of the files and of the data sets in them."""
    used: datetime
    """When it was made, or recalled last."""

    @classmethod
    def read(cls, record: Mapping[str, Any], folder: Path, used: datetime) -> StoreRecord:
        """A result as its record describes it."""
        if "data" not in record:  # as they were written before that was noted
            record = {
                **record,
                "bytes": size_bytes(folder, record["files"]),
                "data": data_digests(folder, record["files"]),
            }
        made = frozenset([*record["files"].values(), *record["data"]])
        return cls(record["step"], folder, record["parts"], record["files"], record["bytes"], made, used)

    @property
    def inputs(self) -> frozenset[str]:
        """The digests of what it was made from."""
        return frozenset(value for part, value in self.parts.items() if part.startswith("input:"))

    def __str__(self) -> str:
        return f"{self.step}/{self.folder.name}"


def data_digests(folder: Path, files: Iterable[str]) -> list[str]:
    """The digests of the data sets and packaged models in a result, which do not depend on how a file packs them."""
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
    """Write a file whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    os.replace(draft, path)
