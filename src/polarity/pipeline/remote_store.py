"""A result store shared by several machines: an fsspec URL such as `s3://bucket/folder`, with a local cache.

<url>/<step>/<key>/<content>/   what the step wrote; `content` is a digest of its files, so a name is never reused
<url>/<step>/<key>.json         as in a local store; written last, so that files without it are ignored
<url>/<step>/<key>.checkpoints/  what an unfinished step continues from, on any machine
<url>/<step>/<key>.used         its modification time is when the result was last used, to a day

If two machines create the same result concurrently, both upload it completely, and one record is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from polarity.config.credentials import redacted, without_credentials
from polarity.config.settings import settings
from polarity.errors import ConfigurationError, ServiceUnavailable
from polarity.inference.package import file_digest
from polarity.pipeline.fingerprint import Fingerprint
from polarity.pipeline.store import CHECKPOINTS, DRAFT_PREFIX, Store
from polarity.pipeline.stored import Stored, StoreRecord, Unfinished, check_record, write_atomically

UPLOADED = ".uploaded"
USED = ".used"
KEY = re.compile("[0-9a-f]{32}")
CHECKPOINT = re.compile(r"[0-9]{10}\.npz")
RECORD_USE_EVERY = timedelta(days=1)
_OPTIONS: dict[str, dict[str, Any]] = {"file": {"auto_mkdir": True}, "local": {"auto_mkdir": True}}


class RemoteStore(Store):
    """Results behind a URL, read from a local cache once they were created or downloaded there.

    Parameters
    ----------
    url : str
        Any URL that fsspec can open. Its library reads credentials and endpoint from the environment.
    cache : Path
        Folder of the local copies, shared by the flows on one machine.
    """

    is_remote = True

    def __init__(self, url: str, cache: Path) -> None:
        super().__init__(cache)
        self.url = url
        self._files, self._root = _open_file_system(url)

    def __str__(self) -> str:
        return without_credentials(self.url)

    def recall(self, fingerprint: Fingerprint) -> Stored | None:
        """The result with this fingerprint, downloaded if necessary."""
        if (stored := super().recall(fingerprint)) and self._is_uploaded(fingerprint):
            self._record_use(fingerprint)
            return stored
        with self._locked(fingerprint):
            return self._find(fingerprint)

    def forget(self, fingerprint: Fingerprint) -> None:
        """Delete a result locally and remotely, so that it is created again."""
        with self._locked(fingerprint):
            self._forget_remote(fingerprint.step, fingerprint.key)
            self._forget_local(fingerprint)

    def pull_checkpoints(self, fingerprint: Fingerprint) -> None:
        """Download the checkpoints that are newer than the local ones."""
        folder = self.checkpoint_folder(fingerprint)
        local = {path.name for path in folder.glob("*.npz")}
        with self._translated_errors():
            for remote in sorted(self._remote_checkpoints(fingerprint)):
                name = remote.rsplit("/", 1)[-1]
                if CHECKPOINT.fullmatch(name) and name > max(local, default=""):
                    folder.mkdir(parents=True, exist_ok=True)
                    draft = folder / f"{name}.draft"
                    with suppress(FileNotFoundError):  # just replaced by a newer one
                        self._files.get_file(remote, str(draft))
                        os.replace(draft, folder / name)

    def push_checkpoints(self, fingerprint: Fingerprint) -> None:
        """Upload the checkpoints that are not there yet, and delete those that are no longer here."""
        local = {
            path.name: path for path in self.checkpoint_folder(fingerprint).glob("*") if CHECKPOINT.fullmatch(path.name)
        }
        base = self._path(fingerprint, CHECKPOINTS)
        with self._translated_errors():
            remote = {name.rsplit("/", 1)[-1] for name in self._remote_checkpoints(fingerprint)}
            for name in sorted(local.keys() - remote):
                with suppress(FileNotFoundError):  # just replaced by a newer one
                    self._files.put_file(str(local[name]), f"{base}/{name}")
            if local:
                for name in sorted(remote - local.keys()):
                    self._files.rm_file(f"{base}/{name}")

    def unfinished(self) -> list[Unfinished]:
        """The steps that left checkpoints, locally or remotely."""
        found = {(one.folder.parent.name, one.folder.stem): one for one in super().unfinished()}
        with self._translated_errors():
            entries = self._files.find(self._root, detail=True) if self._files.exists(self._root) else {}
        for name, entry in entries.items():
            step, folder, file = ("", "", *name.split("/"))[-3:]
            key = folder.removesuffix(CHECKPOINTS)
            if folder.endswith(CHECKPOINTS) and CHECKPOINT.fullmatch(file) and KEY.fullmatch(key):
                known = found.get((step, key)) or Unfinished(self.folder / step / folder, _modified(entry))
                changed, size = max(known.last_change, _modified(entry)), known.remote_bytes + int(entry["size"])
                found[step, key] = Unfinished(known.folder, changed, size)
        return [found[step_and_key] for step_and_key in sorted(found)]

    def results(self) -> list[StoreRecord]:
        """All results, local or remote."""
        found = {(result.step, result.folder.name): result for result in super().results()}
        with self._translated_errors():
            entries = self._files.find(self._root, detail=True) if self._files.exists(self._root) else {}
            changed = {name: _modified(entry) for name, entry in entries.items()}
            names = [name for name in changed if name.endswith(".json") and self._depth(name) == 2]
            records = self._files.cat(names, on_error="omit") if names else {}
        for name, text in records.items():
            step, key = name.removesuffix(".json").split("/")[-2:]
            local = found.get((step, key))
            uses = [changed[name], changed.get(name.removesuffix(".json") + USED), local.last_used if local else None]
            last_used = max(use for use in uses if use is not None)
            with suppress(ValueError, RecursionError):  # damaged
                if KEY.fullmatch(key):
                    found[step, key] = StoreRecord.read(json.loads(text), self.folder / step / key, last_used)
        return [found[step_and_key] for step_and_key in sorted(found)]

    def remove(self, result: StoreRecord) -> bool:
        """Delete a result locally and remotely, unless a local flow has it locked; returns whether it was deleted."""
        result.folder.parent.mkdir(parents=True, exist_ok=True)
        if not self.is_free(result.folder):
            return False
        self._forget_remote(result.step, result.folder.name)
        result.folder.with_suffix(UPLOADED).unlink(missing_ok=True)
        return super().remove(result)

    def _find(self, fingerprint: Fingerprint) -> Stored | None:
        if stored := super()._find(fingerprint):
            if not self._is_uploaded(fingerprint):
                self._publish(fingerprint)  # what the last try did not get through
            return stored
        return self._downloaded(fingerprint)

    def _downloaded(self, fingerprint: Fingerprint) -> Stored | None:
        final = self._folder(fingerprint)
        with self._translated_errors():
            try:
                text = self._files.cat_file(self._path(fingerprint, ".json"))
            except FileNotFoundError:
                return None
        try:
            record = json.loads(text)
            check_record(record, step=fingerprint.step)
        except (ValueError, RecursionError):
            record = None
        if record is None or not self._is_complete(fingerprint, record):
            self._forget_remote(fingerprint.step, fingerprint.key)
            return None
        draft = Path(tempfile.mkdtemp(prefix=f"{DRAFT_PREFIX}{fingerprint.key}.", dir=final.parent))
        try:
            names = sorted(record["files"])
            for name in names:
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
            with self._translated_errors():
                try:
                    remote = [f"{self._content_path(fingerprint, record['files'])}/{name}" for name in names]
                    self._files.get(remote, [str(draft / name) for name in names])
                except FileNotFoundError:
                    return None  # pruned, or damaged
            if any(not _is_file_with(draft / name, digest) for name, digest in record["files"].items()):
                self._forget_remote(fingerprint.step, fingerprint.key)
                return None
            shutil.rmtree(final, ignore_errors=True)
            os.replace(draft, final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        write_atomically(final.with_suffix(".json"), json.dumps(record, indent=1))
        final.with_suffix(UPLOADED).touch()
        self._record_use(fingerprint)
        return Stored(final, fingerprint.key, cached=True)

    def _is_complete(self, fingerprint: Fingerprint, record: Mapping[str, Any]) -> bool:
        """Whether the files are there, are no links, and are as long as recorded: nothing longer is downloaded."""
        content = self._content_path(fingerprint, record["files"])
        with self._translated_errors():
            entries = self._files.find(content, detail=True)
        found = [entries.get(f"{content}/{name}") for name in record["files"]]
        if any(entry is None or entry.get("islink") for entry in found):
            return False
        return "bytes" not in record or sum(entry["size"] for entry in found) == record["bytes"]

    def _publish(self, fingerprint: Fingerprint) -> None:
        """Upload a local result."""
        folder, record = self._folder(fingerprint), self._record(fingerprint)
        assert record is not None
        names, content = sorted(record["files"]), self._content_path(fingerprint, record["files"])
        with self._translated_errors():
            try:
                self._files.put([str(folder / name) for name in names], [f"{content}/{name}" for name in names])
                if not self._files.exists(self._path(fingerprint, ".json")):
                    self._files.pipe_file(self._path(fingerprint, ".json"), json.dumps(record, indent=1).encode())
            except FileNotFoundError as error:
                raise ConfigurationError(
                    f"The store {self} does not exist ({redacted(str(error), self.url)}); create its bucket, or "
                    "correct POLARITY_STORE."
                ) from error
        folder.with_suffix(UPLOADED).touch()

    def _forget_local(self, fingerprint: Fingerprint) -> None:
        self._folder(fingerprint).with_suffix(UPLOADED).unlink(missing_ok=True)
        super()._forget_local(fingerprint)

    def _forget_remote(self, step: str, key: str) -> None:
        base = f"{self._root}/{step}/{key}"
        with self._translated_errors():
            for path in (f"{base}.json", f"{base}{USED}", base):  # the record first: without it the rest is ignored
                if self._files.exists(path):
                    self._files.rm(path, recursive=True)

    def _remote_checkpoints(self, fingerprint: Fingerprint) -> list[str]:
        base = self._path(fingerprint, CHECKPOINTS)
        return list(self._files.find(base)) if self._files.exists(base) else []

    def _discard_checkpoints(self, step: str, key: str) -> None:
        super()._discard_checkpoints(step, key)
        base = f"{self._root}/{step}/{key}{CHECKPOINTS}"
        with self._translated_errors():
            if self._files.exists(base):
                self._files.rm(base, recursive=True)

    def _record_use(self, fingerprint: Fingerprint) -> None:
        """Record at most once a day that a result was used, so that no machine prunes it."""
        marker = self._folder(fingerprint).with_suffix(UPLOADED)
        if datetime.now(UTC) - datetime.fromtimestamp(marker.stat().st_mtime, UTC) > RECORD_USE_EVERY:
            with self._translated_errors():
                self._files.pipe_file(self._path(fingerprint, USED), b"")
            marker.touch()

    def _is_uploaded(self, fingerprint: Fingerprint) -> bool:
        return self._folder(fingerprint).with_suffix(UPLOADED).exists()

    def _path(self, fingerprint: Fingerprint, suffix: str) -> str:
        return f"{self._root}/{fingerprint.step}/{fingerprint.key}{suffix}"

    def _content_path(self, fingerprint: Fingerprint, files: Mapping[str, str]) -> str:
        digest = hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()[:16]
        return self._path(fingerprint, f"/{digest}")

    def _depth(self, name: str) -> int:
        return len(name.removeprefix(self._root).strip("/").split("/"))

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Translate errors of the remote file system into the project's own."""
        try:
            yield
        except (ConfigurationError, ServiceUnavailable):
            raise
        except PermissionError as error:
            raise ConfigurationError(
                f"The store {self} refused access: {redacted(str(error), self.url)}. Check the credentials."
            ) from error
        except Exception as error:  # every library behind fsspec has its own errors
            reason = redacted(f"{type(error).__name__}: {error}", self.url)
            raise ServiceUnavailable(
                f"The store {self} cannot be reached ({reason}). Check POLARITY_STORE and the network, and try again."
            ) from error


def open_store() -> Store:
    """The store configured in `polarity.config.settings`: a folder, or a URL with a local cache."""
    if url := settings().store_url:
        return RemoteStore(url, settings().store_folder)
    return Store(settings().store_folder)


def _open_file_system(url: str) -> tuple[Any, str]:
    import fsspec

    kind = urlsplit(url).scheme
    try:
        files, root = fsspec.url_to_fs(url, use_listings_cache=False, **_OPTIONS.get(kind, {}))
    except ImportError as error:
        raise ConfigurationError(
            f"The store {without_credentials(url)} needs a library that is not installed "
            f"({redacted(str(error), url)}); s3:// needs s3fs."
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"Got the store {without_credentials(url)!r}, which fsspec cannot open ({redacted(str(error), url)}); set "
            "POLARITY_STORE to a folder or a URL such as s3://bucket/folder."
        ) from error
    return files, str(root).rstrip("/")


def _is_file_with(path: Path, digest: str) -> bool:
    return path.is_file() and not path.is_symlink() and file_digest(path) == digest


def _modified(entry: Mapping[str, Any]) -> datetime:
    """When a file was written; the name of this entry depends on the file system."""
    for name in ("LastModified", "mtime", "last_modified", "updated", "created"):
        if (found := entry.get(name)) is not None:
            return found if isinstance(found, datetime) else datetime.fromtimestamp(found, UTC)
    return datetime.now(UTC)
