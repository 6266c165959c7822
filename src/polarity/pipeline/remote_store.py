"""A store of results on several machines: an fsspec URL such as `s3://bucket/folder`, with a local cache.

<url>/<step>/<key>/<content>/   what the step wrote; `content` is a digest of its files, so names never change meaning
<url>/<step>/<key>.json         as in a folder; written last, so that files without it count for nothing
<url>/<step>/<key>.used         its time is when the result was used last, to a day

Two machines that make the same result at once both upload it whole; the record of one of them stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from polarity.config.settings import settings
from polarity.errors import ConfigurationError, ServiceUnavailable
from polarity.inference.package import file_digest
from polarity.pipeline.fingerprint import Fingerprint
from polarity.pipeline.store import DRAFT_PREFIX, Store
from polarity.pipeline.stored import Stored, StoreRecord, write_atomically

UPLOADED = ".uploaded"
USED = ".used"
USE_IS_NOTED_EVERY = timedelta(days=1)
_OPTIONS: dict[str, dict[str, Any]] = {"file": {"auto_mkdir": True}, "local": {"auto_mkdir": True}}


class RemoteStore(Store):
    """Results behind a URL, each read from a local cache once it was made or downloaded there.

    Parameters
    ----------
    url : str
        Whatever fsspec can open. Credentials and endpoint come from the environment, as its library reads them.
    cache : Path
        Folder of the local copies; flows on one machine share it.
    """

    elsewhere = True

    def __init__(self, url: str, cache: Path) -> None:
        super().__init__(cache)
        self.url = url
        self._files, self._root = _opened(url)

    def __str__(self) -> str:
        return _public(self.url)

    def recall(self, fingerprint: Fingerprint) -> Stored | None:
        """The result of a step with this fingerprint, downloaded if need be."""
        if (stored := super().recall(fingerprint)) and self._is_uploaded(fingerprint):
            self._note_use(fingerprint)
            return stored
        with self._alone(fingerprint):
            return self._find(fingerprint)

    def forget(self, fingerprint: Fingerprint) -> None:
        """Drop a result here and there, so that it is made again."""
        with self._alone(fingerprint):
            self._forget_there(fingerprint.step, fingerprint.key)
            self._forget_here(fingerprint)

    def results(self) -> list[StoreRecord]:
        """All results, here or there."""
        found = {(result.step, result.folder.name): result for result in super().results()}
        with self._reached():
            entries = self._files.find(self._root, detail=True) if self._files.exists(self._root) else {}
            changed = {name: _modified(entry) for name, entry in entries.items()}
            names = [name for name in changed if name.endswith(".json") and self._depth(name) == 2]
            records = self._files.cat(names, on_error="omit") if names else {}
        for name, text in records.items():
            step, key = name.removesuffix(".json").split("/")[-2:]
            here = found.get((step, key))
            uses = [changed[name], changed.get(name.removesuffix(".json") + USED), here.used if here else None]
            used = max(use for use in uses if use is not None)
            found[step, key] = StoreRecord.read(json.loads(text), self.folder / step / key, used)
        return [found[place] for place in sorted(found)]

    def remove(self, result: StoreRecord) -> bool:
        """Drop a result here and there, unless a flow on this machine holds it; whether it is gone."""
        result.folder.parent.mkdir(parents=True, exist_ok=True)
        if not self.is_free(result.folder):
            return False
        self._forget_there(result.step, result.folder.name)
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
        with self._reached():
            try:
                record = json.loads(self._files.cat_file(self._place(fingerprint, ".json")))
            except FileNotFoundError:
                return None
        draft = Path(tempfile.mkdtemp(prefix=f"{DRAFT_PREFIX}{fingerprint.key}.", dir=final.parent))
        try:
            names = sorted(record["files"])
            for name in names:
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
            with self._reached():
                try:
                    there = [f"{self._content(fingerprint, record['files'])}/{name}" for name in names]
                    self._files.get(there, [str(draft / name) for name in names])
                except FileNotFoundError:
                    return None  # pruned, or damaged
            if any(file_digest(draft / name) != digest for name, digest in record["files"].items()):
                self._forget_there(fingerprint.step, fingerprint.key)
                return None
            shutil.rmtree(final, ignore_errors=True)
            os.replace(draft, final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        write_atomically(final.with_suffix(".json"), json.dumps(record, indent=1))
        final.with_suffix(UPLOADED).touch()
        self._note_use(fingerprint)
        return Stored(final, fingerprint.key, cached=True)

    def _publish(self, fingerprint: Fingerprint) -> None:
        """Upload a result that is here."""
        folder, record = self._folder(fingerprint), self._record(fingerprint)
        assert record is not None
        names, place = sorted(record["files"]), self._content(fingerprint, record["files"])
        with self._reached():
            try:
                self._files.put([str(folder / name) for name in names], [f"{place}/{name}" for name in names])
                if not self._files.exists(self._place(fingerprint, ".json")):
                    self._files.pipe_file(self._place(fingerprint, ".json"), json.dumps(record, indent=1).encode())
            except FileNotFoundError as error:
                raise ConfigurationError(
                    f"The store {self} is not there ({error}); make its bucket, or correct POLARITY_STORE."
                ) from error
        folder.with_suffix(UPLOADED).touch()

    def _forget_here(self, fingerprint: Fingerprint) -> None:
        self._folder(fingerprint).with_suffix(UPLOADED).unlink(missing_ok=True)
        super()._forget_here(fingerprint)

    def _forget_there(self, step: str, key: str) -> None:
        place = f"{self._root}/{step}/{key}"
        with self._reached():
            for path in (f"{place}.json", f"{place}{USED}", place):  # the record first: the rest counts for nothing
                if self._files.exists(path):
                    self._files.rm(path, recursive=True)

    def _note_use(self, fingerprint: Fingerprint) -> None:
        """Note at most once a day that a result was used, so that pruning spares it on all machines."""
        noted = self._folder(fingerprint).with_suffix(UPLOADED)
        if datetime.now(UTC) - datetime.fromtimestamp(noted.stat().st_mtime, UTC) > USE_IS_NOTED_EVERY:
            with self._reached():
                self._files.pipe_file(self._place(fingerprint, USED), b"")
            noted.touch()

    def _is_uploaded(self, fingerprint: Fingerprint) -> bool:
        return self._folder(fingerprint).with_suffix(UPLOADED).exists()

    def _place(self, fingerprint: Fingerprint, suffix: str) -> str:
        return f"{self._root}/{fingerprint.step}/{fingerprint.key}{suffix}"

    def _content(self, fingerprint: Fingerprint, files: Mapping[str, str]) -> str:
        digest = hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()[:16]
        return self._place(fingerprint, f"/{digest}")

    def _depth(self, name: str) -> int:
        return len(name.removeprefix(self._root).strip("/").split("/"))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Tell in words that the other side does not answer or refuses."""
        try:
            yield
        except (ConfigurationError, ServiceUnavailable):
            raise
        except PermissionError as error:
            raise ConfigurationError(f"The store {self} refuses: {error}. Check the credentials.") from error
        except Exception as error:  # every library behind fsspec has errors of its own
            told = f"{type(error).__name__}: {error}"
            raise ServiceUnavailable(
                f"The store {self} cannot be reached ({told}). Check POLARITY_STORE and the network, and try again."
            ) from error


def open_store() -> Store:
    """The store that `polarity.config.settings` names: a folder, or a URL with a local cache."""
    if url := settings().store_url:
        return RemoteStore(url, settings().store_folder)
    return Store(settings().store_folder)


def _opened(url: str) -> tuple[Any, str]:
    import fsspec

    kind = urlsplit(url).scheme
    try:
        files, root = fsspec.url_to_fs(url, use_listings_cache=False, **_OPTIONS.get(kind, {}))
    except ImportError as error:
        raise ConfigurationError(
            f"The store {_public(url)} needs a library that is not installed ({error}). For s3:// it is s3fs."
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"Got the store {_public(url)!r}, which nothing here can open ({error}); a folder or a URL such as "
            "s3://bucket/folder is needed (POLARITY_STORE)."
        ) from error
    return files, str(root).rstrip("/")


def _modified(entry: Mapping[str, Any]) -> datetime:
    """When a file was written; each kind of file system has a name of its own for that."""
    for name in ("LastModified", "mtime", "last_modified", "updated", "created"):
        if (found := entry.get(name)) is not None:
            return found if isinstance(found, datetime) else datetime.fromtimestamp(found, UTC)
    return datetime.now(UTC)


def _public(url: str) -> str:
    """The URL without a user name or password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
