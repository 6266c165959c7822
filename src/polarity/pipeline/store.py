"""Results of steps, stored by fingerprint, so that only what changed runs again.

<store>/<step>/<key>/           what the step wrote
<store>/<step>/<key>.json       the fingerprint, and the sha256 of every file: written last, so that a
                                folder without it is an abandoned partial result, which is ignored
<store>/<step>/<key>.checkpoints/  what an unfinished step continues from; deleted once its result is stored
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from polarity.errors import ArtifactError
from polarity.inference.package import file_digest
from polarity.pipeline.fingerprint import Fingerprint
from polarity.pipeline.stored import Stored, StoreRecord, Unfinished, data_digests, size_bytes, write_atomically

DRAFT_PREFIX = "."
CHECKPOINTS = ".checkpoints"


class Store:
    """A folder of step results that several flows can use concurrently."""

    is_remote = False
    """Whether the folder is a local cache of a remote store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def recall(self, fingerprint: Fingerprint) -> Stored | None:
        """The result with this fingerprint, if it is stored, complete and unaltered."""
        folder = self._folder(fingerprint)
        record = self._record(fingerprint)
        if record is None:
            return None
        files = record["files"]
        if sorted(files) != sorted(_files(folder)):
            return None
        if any(file_digest(folder / name) != digest for name, digest in files.items()):
            return None
        with suppress(OSError):  # the store may be read-only
            os.utime(folder.with_suffix(".json"))
        return Stored(folder, fingerprint.key, cached=True)

    def fetch(self, result: StoreRecord) -> Path | None:
        """The folder of a result, if it is complete and unaltered."""
        stored = self.recall(Fingerprint(result.step, result.parts))
        return stored.folder if stored else None

    def run(self, fingerprint: Fingerprint, work: Callable[[Path], object]) -> Stored:
        """Return the result with this fingerprint, recalled or created by `work(folder)`.

        `work` gets an empty folder, which becomes the result only once `work` returns. A second flow that
        needs the same result waits for the first one and then recalls it.
        """
        with self._locked(fingerprint):
            if stored := self._find(fingerprint):
                return stored
            final = self._folder(fingerprint)
            draft = Path(tempfile.mkdtemp(prefix=f"{DRAFT_PREFIX}{fingerprint.key}.", dir=final.parent))
            try:
                work(draft)
                files = {name: file_digest(draft / name) for name in _files(draft)}
                shutil.rmtree(final, ignore_errors=True)
                os.replace(draft, final)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
            record = {
                "step": fingerprint.step,
                "made": datetime.now(UTC).isoformat(timespec="seconds"),
                "parts": dict(fingerprint.parts),
                "files": files,
                "bytes": size_bytes(final, files),
                "data": data_digests(final, files),
            }
            write_atomically(final.with_suffix(".json"), json.dumps(record, indent=1))
            self._publish(fingerprint)
            if self.checkpoint_folder(fingerprint).exists():
                self._discard_checkpoints(fingerprint.step, fingerprint.key)
            return Stored(final, fingerprint.key, cached=False)

    def forget(self, fingerprint: Fingerprint) -> None:
        """Delete a result, so that it is created again."""
        with self._locked(fingerprint):
            self._forget_local(fingerprint)

    def checkpoint_folder(self, fingerprint: Fingerprint) -> Path:
        """The folder of the checkpoints for a step that is running; it need not exist."""
        return self._folder(fingerprint).with_suffix(CHECKPOINTS)

    def pull_checkpoints(self, fingerprint: Fingerprint) -> None:
        """Fetch the checkpoints that another machine left; nothing to do for a shared folder."""

    def push_checkpoints(self, fingerprint: Fingerprint) -> None:
        """Make the checkpoints available to other machines; nothing to do for a shared folder."""

    def discard_checkpoints(self, fingerprint: Fingerprint) -> None:
        """Delete the checkpoints of a step that is not continued."""
        with self._locked(fingerprint):
            self._discard_checkpoints(fingerprint.step, fingerprint.key)

    def unfinished(self) -> list[Unfinished]:
        """The steps that left checkpoints, other than those that are running on this machine."""
        found = []
        for folder in sorted(self.folder.glob(f"*/*{CHECKPOINTS}")):
            with suppress(OSError):  # just removed
                changed = datetime.fromtimestamp(max(path.stat().st_mtime for path in [folder, *folder.iterdir()]), UTC)
                if self.is_free(folder):
                    found.append(Unfinished(folder, changed))
        return found

    def remove_unfinished(self, unfinished: Unfinished) -> bool:
        """Delete the checkpoints of a step, unless a flow has it locked; returns whether they were deleted."""
        folder = unfinished.folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not self.is_free(folder):
            return False
        self._discard_checkpoints(folder.parent.name, folder.stem)
        return True

    def results(self) -> list[StoreRecord]:
        """All stored results, complete or not."""
        found = []
        for path in sorted(self.folder.glob("*/*.json")):
            with suppress(OSError, ValueError, KeyError):  # damaged, or just removed
                record, last_used = json.loads(path.read_text()), datetime.fromtimestamp(path.stat().st_mtime, UTC)
                found.append(StoreRecord.read(record, path.with_suffix(""), last_used))
        return found

    def leftovers(self) -> list[Path]:
        """Abandoned partial results: drafts, folders without a record, locks without a result."""
        folders = [
            path
            for path in self.folder.glob("*/*")
            if path.is_dir()
            and path.suffix != CHECKPOINTS
            and (path.name.startswith(DRAFT_PREFIX) or not path.with_suffix(".json").exists())
        ]
        locks = [path for path in self.folder.glob("*/*.lock") if not path.with_suffix(".json").exists()]
        return [path for path in sorted(folders) + sorted(locks) if self.is_free(path)]

    def is_free(self, path: Path) -> bool:
        """Whether no process is working on the result that a folder, a draft or a lock belongs to."""
        lock = _lock_of(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        lock.release()
        return True

    def remove(self, result: StoreRecord) -> bool:
        """Delete a result, unless a flow has it locked; returns whether it was deleted."""
        folder = result.folder
        lock = _lock_of(folder)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            folder.with_suffix(".json").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)  # a waiting process notices and creates a new lock
        finally:
            lock.release()
        return True

    def latest_parts(self, step: str) -> dict[str, str] | None:
        """The fingerprint parts of the newest result of a step, for comparison with the current ones."""
        records = sorted((self.folder / step).glob("*.json"), key=lambda path: path.stat().st_mtime)
        if not records:
            return None
        parts: dict[str, str] = json.loads(records[-1].read_text())["parts"]
        return parts

    def _find(self, fingerprint: Fingerprint) -> Stored | None:
        """Like `recall`, for a caller that holds the lock of this result."""
        return Store.recall(self, fingerprint)

    def _publish(self, fingerprint: Fingerprint) -> None:
        """Make a result available to other machines; nothing to do for a shared folder."""

    def _discard_checkpoints(self, step: str, key: str) -> None:
        shutil.rmtree(self.folder / step / f"{key}{CHECKPOINTS}", ignore_errors=True)

    def _forget_local(self, fingerprint: Fingerprint) -> None:
        self._folder(fingerprint).with_suffix(".json").unlink(missing_ok=True)
        shutil.rmtree(self._folder(fingerprint), ignore_errors=True)

    def _folder(self, fingerprint: Fingerprint) -> Path:
        return self.folder / fingerprint.step / fingerprint.key

    def _record(self, fingerprint: Fingerprint) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads(self._folder(fingerprint).with_suffix(".json").read_text())
            return record
        except (OSError, ValueError):
            return None

    @contextmanager
    def _locked(self, fingerprint: Fingerprint) -> Iterator[None]:
        folder = self._folder(fingerprint)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder.with_suffix(".lock"))
            lock.acquire()
        except OSError as error:
            raise ArtifactError(
                f"The store {self.folder} cannot be written ({error}); make it writable, or set POLARITY_STORE."
            ) from error
        try:
            yield
        finally:
            lock.release()


def _lock_of(path: Path) -> FileLock:
    key = path.name.removeprefix(DRAFT_PREFIX).split(".")[0]
    return FileLock(path.with_name(f"{key}.lock"))


def _files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
