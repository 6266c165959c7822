"""Files at an address that fsspec opens, such as `s3://bucket/tweets`, and local copies of them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from polarity.config.credentials import redacted, without_credentials
from polarity.config.settings import settings
from polarity.errors import ConfigurationError, ServiceUnavailable

_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart", "~")
_OF_CONTENT = ("etag", "md5hash", "content_md5", "content-md5", "last-modified")
_BLOCK_BYTES = 2**22
_STAMPS = ".stamps.json"
_ATTEMPTS = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A file at an address.

    Attributes
    ----------
    name : str
        Relative to the address; the last part of the address if that is the file.
    address : str
        With its protocol, without credentials.
    size : int or None
        In bytes, if it is known.
    stamp : str
        Changes with the file (its size, time, inode or etag), and with the options given to `Addressed`.
    stamped : bool
        Whether the stamp has more than the size.
    age_s : float or None
        Seconds since it changed, if that is known.
    """

    path: str
    name: str
    address: str
    size: int | None
    stamp: str
    stamped: bool
    age_s: float | None


class Addressed:
    """The files of a local folder, or at an address.

    Parameters
    ----------
    address : str
    options : str
        Identifies other options that change what is read.

    Raises
    ------
    ConfigurationError
        If the address is not understood, cannot be reached, or does not exist.
    """

    def __init__(self, address: str, options: str = "") -> None:
        shown = without_credentials(address)
        try:
            self.files, self.root = fsspec.url_to_fs(address)
            there = self.files.exists(self.root)
        except Exception as error:  # every library behind fsspec has its own errors
            raise ConfigurationError(f"fsspec cannot open {shown}: {redacted(str(error), address)}.") from error
        if not there:
            raise ConfigurationError(f"{shown} does not exist; --data.path must be a folder, a file or an address.")
        self._options = options

    def find(self) -> list[Found]:
        """The files now, by address, without hidden ones and those whose names say that they are unfinished."""
        self.files.invalidate_cache()
        if self.files.isfile(self.root):  # asked for first, because HTTP servers list nothing
            return [self._found(self.root, self.files.info(self.root))]
        found = self.files.find(self.root, detail=True)
        return [self._found(path, info) for path, info in sorted(found.items()) if _finished(path, self.root)]

    def look_again(self, found: Found) -> Found | None:
        """The file as it is now; None if it is gone."""
        self.files.invalidate_cache()
        try:
            return self._found(found.path, self.files.info(found.path))
        except FileNotFoundError:
            return None

    def fetch(self, found: Found, to: Path) -> str:
        """Copy a file; return the sha256 of what was copied."""
        sha256 = hashlib.sha256()
        with self.files.open(found.path, "rb") as source, to.open("wb") as target:
            while block := source.read(_BLOCK_BYTES):
                sha256.update(block)
                target.write(block)
        return sha256.hexdigest()

    def _found(self, path: str, info: dict[str, Any]) -> Found:
        # Stores list a file's time under other names, in other types or more coarsely than they give it when asked.
        properties = {name.lower(): value for name, value in info.items()}
        of_content = [str(properties[name]) for name in _OF_CONTENT if properties.get(name)]
        try:
            changed_at = self.files.modified(path).timestamp()
        except NotImplementedError:
            changed_at = None
        identity = of_content or [str(changed_at), str(properties.get("ino"))]
        known = json.dumps([info["size"], identity, self._options])
        address = without_credentials(self.files.unstrip_protocol(path))
        return Found(
            path,
            PurePosixPath(address).name if path == self.root else path.removeprefix(self.root).lstrip("/"),
            address,
            None if info["size"] is None else int(info["size"]),
            hashlib.sha256(known.encode()).hexdigest(),
            bool(of_content) or changed_at is not None,
            None if changed_at is None else time.time() - changed_at,
        )


def local_copy(address: str) -> Path:
    """Copy the files at an address into the project's folder of downloads; only those that changed are copied again.

    Returns
    -------
    Path
        A file, or a folder if the address is one.

    Raises
    ------
    ConfigurationError
        As `Addressed`.
    ServiceUnavailable
        If a file cannot be read, or keeps changing while it is.
    """
    remote = Addressed(address)
    folder = settings().downloads_folder / hashlib.blake2b(address.encode(), digest_size=16).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = folder / _STAMPS
        stamps: dict[str, str] = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
        found = {one.name: one for one in remote.find()}
        for name in stamps.keys() - found.keys():
            (folder / "files" / name).unlink(missing_ok=True)
        stamps = {name: stamp for name, stamp in stamps.items() if name in found}
        for name, one in found.items():
            target = folder / "files" / name
            if one.stamped and stamps.get(name) == one.stamp and target.is_file():
                continue
            stamps.pop(name, None)
            kept.write_text(json.dumps(stamps), "utf-8")
            stamps[name] = _fetch(remote, one, target, address)
            kept.write_text(json.dumps(stamps), "utf-8")
    copied = folder / "files"
    is_file = [one.path for one in found.values()] == [remote.root]
    return copied / next(iter(found)) if is_file else copied


def _fetch(remote: Addressed, found: Found, target: Path, address: str) -> str:
    """Copy a file in whole, and return the stamp of what was copied."""
    size = "" if found.size is None else f" ({found.size / 2**20:,.1f} MiB)"
    _log.info("Downloading %s%s", found.address, size)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.unfinished")
    for _ in range(_ATTEMPTS):
        try:
            remote.fetch(found, unfinished)
            now = remote.look_again(found)
        except Exception as error:  # every library behind fsspec has its own errors
            why = redacted(str(error) or type(error).__name__, address)
            raise ServiceUnavailable(f"{found.address} could not be read: {why}.") from error
        if now is None:
            break
        if now.stamp == found.stamp and found.size in (None, unfinished.stat().st_size):
            unfinished.replace(target)
            return found.stamp
        found = now
    unfinished.unlink(missing_ok=True)
    raise ServiceUnavailable(f"{found.address} changed while it was read; try again when it is complete.")


def _finished(path: str, root: str) -> bool:
    parts = PurePosixPath(path.removeprefix(root)).parts or (PurePosixPath(path).name,)
    return not any(part.startswith((".", "_")) for part in parts) and not path.lower().endswith(_UNFINISHED)
