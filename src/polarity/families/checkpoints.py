"""Checkpoints of a fit: its state in one file each, from which a later process continues."""

from __future__ import annotations

import json
import os
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SUFFIX = ".npz"
KEPT = 2
"""How many are kept: if the newest is damaged, the one before it still counts."""
_STATE = "state"
_DAMAGED = (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error, struct.error)

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """The state of a fit after a number of batches.

    Parameters
    ----------
    batches : int
        Batches of all epochs so far.
    state : mapping
        JSON types.
    arrays : mapping
        Arrays of numbers by name.
    """

    batches: int
    state: Mapping[str, Any]
    arrays: Arrays

    def group(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """The arrays `prefix/NAME`, by NAME, in their order."""
        return {
            name.removeprefix(f"{prefix}/"): array
            for name, array in self.arrays.items()
            if name.startswith(f"{prefix}/")
        }

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises
        ------
        ValueError
            If the file is damaged: each part of it has a checksum.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            state = json.loads(arrays.pop(_STATE).tobytes())
            return cls(int(path.stem), state, arrays)
        except _DAMAGED as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


class Checkpoints:
    """The folder of a fit's checkpoints.

    Parameters
    ----------
    folder : Path
        Created with the first checkpoint.
    every_s : float
        Seconds between checkpoints within an epoch; there is always one after each epoch.
    newest : Path, optional
        The checkpoint to continue from.
    """

    def __init__(self, folder: Path, *, every_s: float = float("inf"), newest: Path | None = None) -> None:
        self.folder = folder
        self._every_s = every_s
        self._newest = newest
        self._written = time.monotonic()

    def start(self) -> Checkpoint | None:
        """The checkpoint to continue from."""
        return Checkpoint.read(self._newest) if self._newest else None

    def is_due(self) -> bool:
        """Whether the last one is old enough for another one within an epoch."""
        return time.monotonic() - self._written >= self._every_s

    def write(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint completely or not at all, and delete all but the newest ones.

        A checkpoint that cannot be written, e.g. to a full disk, costs no fit: the log says so.
        """
        self._written = time.monotonic()
        try:
            self._write(checkpoint)
        except OSError as error:
            print(f"The checkpoint after {checkpoint.batches} batches was not written: {error}.")

    def _write(self, checkpoint: Checkpoint) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{checkpoint.batches:010d}{SUFFIX}"
        draft = path.with_suffix(".draft")
        state = np.frombuffer(json.dumps(checkpoint.state).encode(), np.uint8)
        with draft.open("wb") as file:
            np.savez(file, **{_STATE: state}, **checkpoint.arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        for old in checkpoint_files(self.folder)[:-KEPT]:
            old.unlink(missing_ok=True)


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def newest_complete(folder: Path, note: Callable[[str], object]) -> Path | None:
    """The newest undamaged checkpoint in a folder; damaged ones are named to `note` and deleted."""
    for path in reversed(checkpoint_files(folder)):
        try:
            Checkpoint.read(path)
        except ValueError as error:
            note(f"The checkpoint {path} is damaged ({error}) and is ignored.")
            path.unlink(missing_ok=True)
        else:
            return path
    return None
