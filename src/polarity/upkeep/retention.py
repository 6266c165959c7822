"""What is kept, and for how long: old runs, versions, Bentos and results go, the champion's never.

Whatever is taken away can be made again: a step whose result is gone simply runs, and what is
registered or packaged anew gets a new number.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from polarity.bento import store as bento_store
from polarity.bento.build import CANDIDATE
from polarity.errors import ArtifactError
from polarity.inference.package import ModelManifest
from polarity.pipeline.store import Store
from polarity.pipeline.stored import StoreRecord
from polarity.registry import promotion
from polarity.registry.tracking import running_attempts
from polarity.registry.versions import Registry, Version
from polarity.upkeep.doctor import is_alive

GIGABYTE = 1_000_000_000
MAY_BE_IN_USE = timedelta(hours=1)


class Retention(BaseSettings):
    """How much is kept, each settable as POLARITY_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="POLARITY_", frozen=True)

    keep_runs: int = Field(20, ge=0, description="newest runs of each flow that are kept, however old")
    keep_days: float = Field(30, ge=0, description="days for which every run, version and Bento is kept")
    store_days: float = Field(30, ge=0, description="days for which a result is kept that no run has used")
    store_gb: float = Field(20, ge=0, description="largest size of the store; beyond it, the least recently used go")


@dataclass(frozen=True)
class Removal:
    """Something that may go: what, why, where it lies, and how it is taken away (false: somebody holds it)."""

    what: str
    why: str
    folders: tuple[Path, ...]
    take_away: Callable[[], bool]
    elsewhere_bytes: int = 0
    """What comes free behind the store's URL."""


@dataclass(frozen=True)
class Removed:
    """What was taken away, and how much space came free."""

    removals: tuple[Removal, ...]
    freed_bytes: int


def prune(registry: Registry, store: Store, runs: Path, retention: Retention, now: datetime | None = None) -> Removed:
    """Take away what `removals` names, but nothing that somebody holds by then."""
    done, freed_bytes = [], 0
    for removal in removals(registry, store, runs, retention, now):
        size_bytes = own_bytes(removal.folders) + removal.elsewhere_bytes
        if removal.take_away():
            done.append(removal)
            freed_bytes += size_bytes
    return Removed(tuple(done), freed_bytes)


def removals(
    registry: Registry, store: Store, runs: Path, retention: Retention, now: datetime | None = None
) -> list[Removal]:
    """What the policy no longer keeps, in an order in which a kill does no harm.

    Never among it: the champion and the one that a rollback would put back, with their Bentos, the run that made
    them, and the results that they came from; and whatever may be in use.

    Raises
    ------
    ServiceUnavailable
        If MLflow does not answer.
    """
    return list(_Pruning(registry, store, runs, retention, now or datetime.now(UTC)).removals())


class _Pruning:
    def __init__(self, registry: Registry, store: Store, runs: Path, retention: Retention, now: datetime) -> None:
        self._registry, self._store, self._retention = registry, store, retention
        begun = [datetime.fromtimestamp(a.started_s, UTC) for a in running_attempts(registry.uri) if is_alive(a)]
        # a flow reads what it used before, and has used it since it began or shortly before
        self._in_use_since = min([now, *begun]) - MAY_BE_IN_USE
        self._edge = min(now - timedelta(days=retention.keep_days), self._in_use_since)
        self._store_edge = min(now - timedelta(days=retention.store_days), self._in_use_since)
        ours = (registry.champion(), promotion.previous_champion(registry))
        self._ours = [version for version in ours if version is not None]
        self._runs = {folder: _last_change(folder) for folder in runs.glob("*") if folder.is_dir()}
        self._kept_runs = self._choose_runs()
        self._kept_versions = self._choose_versions()

    def removals(self) -> Iterator[Removal]:
        yield from self._old_runs()
        yield from self._old_versions()
        yield from self._old_bentos()
        yield from self._old_results()
        yield from self._leftovers()

    def _choose_runs(self) -> set[Path]:
        newest = sorted(self._runs, key=lambda folder: self._runs[folder], reverse=True)
        trained = [folder for folder in newest if (folder / "config.json").exists()]
        others = [folder for folder in newest if folder not in trained]
        most = self._retention.keep_runs
        made_ours = {version.run_id for version in self._ours}
        return {
            *trained[:most],
            *others[:most],
            *(folder for folder, changed in self._runs.items() if changed >= self._edge),
            *(folder for folder in trained if made_ours & {record["run_id"] for record in _records(folder)}),
        }

    def _old_runs(self) -> Iterator[Removal]:
        for folder in sorted(self._runs.keys() - self._kept_runs):
            yield Removal(f"run {folder.name}", f"of {self._runs[folder]:%Y-%m-%d}", (folder,), _folder_goes(folder))

    def _old_versions(self) -> Iterator[Removal]:
        for version in self._registry.versions():
            if version not in self._kept_versions:
                try:
                    folders: tuple[Path, ...] = (self._registry.packaged(version),)
                except ArtifactError:
                    folders = ()
                yield Removal(f"version {version}", f"of {version.made:%Y-%m-%d}", folders, self._version_goes(version))

    def _choose_versions(self) -> list[Version]:
        used = {record["model_version"] for folder in self._kept_runs for record in _records(folder)}
        return [
            version
            for version in self._registry.versions()
            if version in self._ours or version.number in used or version.made >= self._edge
        ]

    def _version_goes(self, version: Version) -> Callable[[], bool]:
        def take_away() -> bool:
            if version == self._registry.champion():
                return False  # promoted since
            self._registry.remove(version)
            return True

        return take_away

    def _old_bentos(self) -> Iterator[Removal]:
        kept = {bento_store.latest()}
        for version in self._kept_versions:
            if version.bento:
                kept |= {version.bento, bento_store.promoted_tag(version.bento)}
        runs = {folder.name for folder in self._kept_runs}
        for tag in [*bento_store.tags(CANDIDATE), *bento_store.tags(bento_store.CHAMPION)]:
            made = bento_store.made(tag)
            if tag not in kept and made < self._edge and _made_by(tag) not in runs:
                folder = bento_store.bento_folder(tag)
                yield Removal(f"Bento {tag}", f"of {made:%Y-%m-%d}", (folder,), _bento_goes(tag))

    def _old_results(self) -> Iterator[Removal]:
        results = sorted(self._store.results(), key=lambda result: result.used)
        needed = {result.folder for version in self._ours for result in lineage(results, version.fingerprint)}
        left_bytes = sum(result.size_bytes for result in results)
        most_bytes = self._retention.store_gb * GIGABYTE
        for result in results:
            if result.folder in needed or result.used >= self._in_use_since:
                continue
            if result.used >= self._store_edge and left_bytes <= most_bytes:
                continue
            left_bytes -= result.size_bytes
            why = f"last used on {result.used:%Y-%m-%d}"
            elsewhere_bytes = result.size_bytes if self._store.elsewhere else 0
            goes = _result_goes(self._store, result)
            yield Removal(f"result {result}", why, (result.folder,), goes, elsewhere_bytes)

    def _leftovers(self) -> Iterator[Removal]:
        for path in self._store.leftovers():
            yield Removal(f"leftover {path.parent.name}/{path.name}", "of a kill", (path,), _leftover_goes(path))
        for path in bento_store.half_copies():
            if _last_change(path) < self._in_use_since:
                yield Removal(f"leftover {path.name}", "of a kill", (path,), _folder_goes(path))


def lineage(results: Sequence[StoreRecord], fit: str) -> list[StoreRecord]:
    """The fit with this key, the results that it came from, and what was measured and packaged of it.

    A result comes from another if one of its inputs is, by digest, what the other made.
    """
    made = {result.folder: result.made for result in results}
    found = [result for result in results if result.folder.name == fit]
    of_fit = {digest for result in found for digest in made[result.folder]}
    measured = [result for result in results if result.inputs & of_fit]
    for result in found:  # grows while it is walked
        parents = [other for other in results if made[other.folder] & result.inputs and other not in found]
        found.extend(parents)
    return [*found, *measured]


def own_bytes(folders: Sequence[Path]) -> int:
    """The space that comes free when these folders go: files that are linked elsewhere, too, count for nothing."""
    links: dict[tuple[int, int], tuple[int, int, int]] = {}
    for path in (path for folder in folders for path in _files(folder)):
        stat = path.stat()
        there, _, _ = links.get((stat.st_dev, stat.st_ino), (0, 0, 0))
        links[stat.st_dev, stat.st_ino] = (there + 1, stat.st_nlink, stat.st_size)
    return sum(size_bytes for there, everywhere, size_bytes in links.values() if there == everywhere)


def _records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in run.glob("*/mlflow_id.json")]


def _made_by(tag: str) -> str | None:
    """The run that built a Bento."""
    try:
        run_id: str | None = ModelManifest.read(bento_store.model_folder(tag)).card.get("run_id")
        return run_id
    except (ArtifactError, OSError):
        return None


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
    yield from (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _last_change(folder: Path) -> datetime:
    return datetime.fromtimestamp(max(path.stat().st_mtime for path in [folder, *_files(folder)]), UTC)


def _folder_goes(folder: Path) -> Callable[[], bool]:
    def take_away() -> bool:
        shutil.rmtree(folder)
        return True

    return take_away


def _bento_goes(tag: str) -> Callable[[], bool]:
    def take_away() -> bool:
        if tag == bento_store.latest():
            return False  # promoted since
        bento_store.delete(tag)
        return True

    return take_away


def _result_goes(store: Store, result: StoreRecord) -> Callable[[], bool]:
    return lambda: store.remove(result)


def _leftover_goes(path: Path) -> Callable[[], bool]:
    def take_away() -> bool:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            os.unlink(path)
        return True

    return take_away
