"""Backup of what cannot be made again from the code: one file, from which another machine goes on.

It may be written while servers and flows run. Databases are copied by SQLite's own online backup, the registry before
the files that it names, which are never changed; what is half-written is left out. What is behind a URL (PostgreSQL,
an MLflow server, a bucket) is not in the file, and is named.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

from polarity import __version__
from polarity.bento.store import home as bento_home
from polarity.config.settings import settings
from polarity.errors import ArtifactError, ConfigurationError
from polarity.inference.package import file_digest
from polarity.pipeline.store import DRAFT_PREFIX
from polarity.record.options import RecordOptions
from polarity.registry.mlflow_client import relocate

FORMAT = 1
CONTENTS = "backup.json"
_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Part:
    """A file or folder of the present home.

    Attributes
    ----------
    name : str
        In the backup.
    title : str
    path : Path or None
        Where it is; None if it is kept elsewhere.
    elsewhere : str
        Where, then.
    database : bool
        Whether it is an SQLite file.
    """

    name: str
    title: str
    path: Path | None
    elsewhere: str = ""
    database: bool = False

    def files(self) -> Iterator[tuple[str, Path]]:
        """The names in the backup and the paths of its files, without what is half-written."""
        assert self.path is not None
        if self.path.is_file():
            yield self.name, self.path
        for path in sorted(self.path.rglob("*")) if self.path.is_dir() else ():
            inside = path.relative_to(self.path)
            draft = self.name == "store" and any(one.startswith(DRAFT_PREFIX) for one in inside.parts)
            if path.is_file() and not path.is_symlink() and not draft:
                yield f"{self.name}/{inside.as_posix()}", path


class _File(msgspec.Struct, frozen=True):
    sha256: str
    bytes: int


class _Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup has, and where it was: MLflow has absolute paths in its database."""

    format: int
    version: str
    created: str
    artifacts: str
    runs: str
    left_out: tuple[str, ...]
    files: dict[str, _File]


@dataclass(frozen=True)
class Copied:
    """What was written or restored: titles of the parts, their files and bytes, and what is not in the backup."""

    parts: tuple[str, ...]
    files: int
    bytes: int
    left_out: tuple[str, ...]


def parts() -> list[Part]:
    """What a backup is made of, in the order in which it is copied."""
    known, record = settings(), RecordOptions.read()
    uri, artifacts = known.tracking_uri, known.artifact_root
    registry = Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None
    of_record = "a PostgreSQL database; `pg_dump` copies it" if record.database else ""
    found = [
        Part("mlflow.db", "registry", registry, "MLflow's server or database", database=True),
        Part("artifacts", "artifacts of MLflow", None if "://" in artifacts else Path(artifacts), "a bucket or server"),
        Part("bentos", "Bentos", bento_home() / "bentos"),
        Part("store", "results of steps", None if known.store_url else known.store_folder, "a bucket"),
        Part("runs", "runs", known.runs_folder),
        Part("collected", "collected tweets", known.collected_folder),
    ]
    if record.enabled:
        title = "record, as far as the database does not have it" if record.database else "record"
        found.append(Part("record.db", title, record.local_file, database=True))
    if of_record:
        found.append(Part("", "record", None, of_record))
    return found


def back_up(file: Path) -> Copied:
    """Write a backup of the present home into a new file.

    Parameters
    ----------
    file : Path
        A tar archive, compressed if its name ends with `.gz`.

    Raises
    ------
    ConfigurationError
        If the file exists, or nothing is there to be copied.
    """
    if file.exists():
        raise ConfigurationError(f"'{file}' exists, and is not overwritten; give another name.")
    found: dict[str, _File] = {}
    copied, left_out = [], []
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.draft")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="polarity-backup-") as scratch,
            open(draft, "wb", opener=_for_the_owner) as output,
            tarfile.open(fileobj=output, mode="w:gz" if file.suffix == ".gz" else "w") as archive,
        ):
            for part in parts():
                if part.path is None:
                    left_out.append(f"{part.title}: in {part.elsewhere}")
                    continue
                if not part.path.exists():
                    left_out.append(f"{part.title}: there is none in '{part.path}'")
                    continue
                copied.append(part.title)
                if part.database:
                    _add(archive, part.name, _copy_of(part.path, Path(scratch) / part.name), found)
                else:
                    for name, path in part.files():
                        with suppress(FileNotFoundError):  # deleted since it was listed
                            _add(archive, name, path, found)
            if not found:
                raise ConfigurationError(f"There is nothing to back up: {'; '.join(left_out)}.")
            contents = _Contents(
                format=FORMAT,
                version=__version__,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                artifacts=settings().artifact_root,
                runs=str(settings().runs_folder),
                left_out=tuple(left_out),
                files=found,
            )
            encoded = msgspec.json.encode(contents)
            info = tarfile.TarInfo(CONTENTS)
            info.size = len(encoded)
            archive.addfile(info, io.BytesIO(encoded))
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return Copied(tuple(copied), len(found), sum(one.bytes for one in found.values()), tuple(left_out))


def restore(file: Path) -> Copied:
    """Unpack a backup into the present home, which must not have any of its parts.

    Every file is held against its digest before anything is put in its place.

    Raises
    ------
    ConfigurationError
        If something is there already, or is kept elsewhere by the present settings.
    ArtifactError
        If the file is no backup, or something in it is missing or damaged; it is named.
    """
    here = settings().home.absolute()
    here.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=here) as folder:
        draft = Path(folder)
        contents = _unpack(file, draft)
        present = [part for part in parts() if part.name and (draft / part.name).exists()]
        wanted = {name.partition("/")[0] for name in contents.files}
        missing_here = [part.title for part in present if part.path is None]
        if missing_here or len(present) != len(wanted):
            named = ", ".join(missing_here or sorted(wanted - {part.name for part in present}))
            raise ConfigurationError(
                f"The backup has files of what is kept elsewhere by the present settings: {named}. Restore it with the "
                "settings with which it was made."
            )
        occupied = [f"{part.title} in '{part.path}'" for part in present if _is_occupied(part.path)]
        if occupied:
            raise ConfigurationError(
                f"Nothing is overwritten, but there are: {'; '.join(occupied)}. Restore into a fresh home "
                "(POLARITY_HOME, BENTOML_HOME, POLARITY_PREDICTION_LOG), or move them away."
            )
        database = draft / "mlflow.db"
        if database.is_file():
            relocate(
                database, {contents.artifacts: settings().artifact_root, contents.runs: str(settings().runs_folder)}
            )
        for part in present:
            assert part.path is not None
            part.path.parent.mkdir(parents=True, exist_ok=True)
            if part.path.is_dir():
                part.path.rmdir()  # it is empty
            shutil.move(draft / part.name, part.path)
    return Copied(
        tuple(part.title for part in present),
        len(contents.files),
        sum(one.bytes for one in contents.files.values()),
        contents.left_out,
    )


def _unpack(file: Path, folder: Path) -> _Contents:
    """Unpack a backup and hold every file against its digest."""
    try:
        with tarfile.open(file) as archive:
            archive.extractall(folder, filter="data")
    except OSError as error:
        raise ArtifactError(f"'{file}' cannot be read: {error}.") from error
    except (tarfile.TarError, EOFError) as error:
        raise ArtifactError(f"'{file}' is no backup, or was cut off: {error}.") from error
    try:
        contents = msgspec.json.decode((folder / CONTENTS).read_bytes(), type=_Contents)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"'{file}' is no backup, or was cut off: it has no list of its contents ({error})."
        ) from error
    if contents.format != FORMAT:
        raise ArtifactError(f"'{file}' has format {contents.format}; this version reads format {FORMAT}.")
    (folder / CONTENTS).unlink()
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    problems = [f"{name} is missing" for name in contents.files if name not in found]
    problems += [f"{name} is not in its list" for name in found if name not in contents.files]
    problems += [
        f"{name} is damaged"
        for name, path in found.items()
        if name in contents.files and file_digest(path) != contents.files[name].sha256
    ]
    if problems:
        raise ArtifactError(f"'{file}' is damaged, and nothing was restored: {'; '.join(sorted(problems)[:10])}.")
    return contents


def _add(archive: tarfile.TarFile, name: str, path: Path, found: dict[str, _File]) -> None:
    """Add a file as it is now; what it is written further meanwhile is not part of it."""
    with path.open("rb") as file:
        info = archive.gettarinfo(arcname=name, fileobj=file)
        if info.islnk():  # a file that is in the archive under another name: Bentos share them
            archive.addfile(info)
            found[name] = found[info.linkname]
            return
        reader = _Digesting(file)
        archive.addfile(info, reader)  # it needs `read` alone
    found[name] = _File(reader.digest.hexdigest(), info.size)


class _Digesting:
    """A file whose digest is taken while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        content = self._file.read(size)
        self.digest.update(content)
        return content


def _copy_of(database: Path, copy: Path) -> Path:
    """A consistent copy of a database that others may be writing to."""
    try:
        with (
            closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise ArtifactError(f"The database '{database}' cannot be copied: {error}.") from error
    shutil.copymode(database, copy)
    return copy


def _is_occupied(path: Path | None) -> bool:
    return path is not None and (path.is_file() or (path.is_dir() and any(path.iterdir())))


def _for_the_owner(path: str, flags: int) -> int:
    """Open the backup for its owner alone, since it has the recorded texts."""
    return os.open(path, flags, 0o600)
