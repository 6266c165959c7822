"""The retention policy: old runs, versions, Bentos and results are removed, but never the champion's.

Everything that is removed can be recreated: a step without a stored result simply runs again, and
what is registered or packaged again gets a new number.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from polarity.bento import store as bento_store
from polarity.bento.build import CANDIDATE
from polarity.errors import ArtifactError
from polarity.inference.package import ModelManifest
from polarity.pipeline.store import Store
from polarity.pipeline.stored import StoreRecord
from polarity.registry import promotion
from polarity.registry.tasks import registered_tasks
from polarity.registry.tracked_runs import delete_tracked_runs, tracked_runs
from polarity.registry.tracking import running_attempts
from polarity.registry.versions import Registry, Version

GIGABYTE = 1_000_000_000
MAY_BE_IN_USE = timedelta(hours=1)


class Retention(BaseSettings):
    """How much is kept. Each option can be set as POLARITY_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="POLARITY_", frozen=True)

    keep_runs: int = Field(20, ge=0, description="number of newest runs to keep for each flow, however old")
    keep_days: float = Field(30, ge=0, description="days to keep every run, version and Bento")
    store_days: float = Field(30, ge=0, description="days to keep a stored result after its last use")
    checkpoint_days: float = Field(7, ge=0, description="days to keep the checkpoints of a fit that was interrupted")
    store_gb: float = Field(20, ge=0, description="store size above which the least recently used results are removed")


@dataclass(frozen=True)
class Removal:
    """Something that may be removed: a description, the reason, its folders, and how to remove it.

    `remove` returns False if the target is in use.
    """

    target: str
    reason: str
    folders: tuple[Path, ...]
    remove: Callable[[], bool]
    remote_bytes: int = 0
    """Space freed behind the store's URL."""


@dataclass(frozen=True)
class Removed:
    """What was removed, and how much space that freed."""

    removals: tuple[Removal, ...]
    freed_bytes: int


def prune(registry: Registry, store: Store, runs: Path, retention: Retention, now: datetime | None = None) -> Removed:
    """Remove what `removals` lists, except what has come into use since."""
    done, freed_bytes = [], 0
    for removal in removals(registry, store, runs, retention, now):
        size_bytes = reclaimable_bytes(removal.folders) + removal.remote_bytes
        if removal.remove():
            done.append(removal)
            freed_bytes += size_bytes
    return Removed(tuple(done), freed_bytes)


def removals(
    registry: Registry, store: Store, runs: Path, retention: Retention, now: datetime | None = None
) -> list[Removal]:
    """List what the policy no longer keeps, in an order in which an interruption does no harm.

    The list never includes the champion and the version that a rollback would restore, their Bentos, the runs that
    produced them and the results they were built from, nor anything that may be in use.

    Raises
    ------
    ServiceUnavailable
        If MLflow does not respond.
    """
    return list(_Pruning(registry, store, runs, retention, now or datetime.now(UTC)).removals())


class _Pruning:
    def __init__(self, registry: Registry, store: Store, runs: Path, retention: Retention, now: datetime) -> None:
        self._uri, self._store, self._retention = registry.uri, store, retention
        started = [datetime.fromtimestamp(a.started_s, UTC) for a in running_attempts(registry.uri) if a.is_alive]
        # a running flow may read any result that was used since shortly before it started
        self._in_use_since = min([now, *started]) - MAY_BE_IN_USE
        self._cutoff = min(now - timedelta(days=retention.keep_days), self._in_use_since)
        self._store_cutoff = min(now - timedelta(days=retention.store_days), self._in_use_since)
        self._checkpoint_cutoff = min(now - timedelta(days=retention.checkpoint_days), self._in_use_since)
        tasks = registered_tasks(registry.uri)
        self._registries = [Registry(registry.uri, task.name) for task in tasks]
        self._protected = [version for of in self._registries for version in _protected(of)]
        self._searches = runs.parent / "searches"
        self._runs = {folder: _last_change(folder) for folder in runs.glob("*") if folder.is_dir()}
        self._kept_runs = self._runs_to_keep()
        self._kept_versions = self._versions_to_keep()

    def removals(self) -> Iterator[Removal]:
        yield from self._old_runs()
        yield from self._old_versions()
        yield from self._old_bentos()
        yield from self._old_tracked_runs()
        yield from self._old_results()
        yield from self._old_searches()
        yield from self._old_checkpoints()
        yield from self._leftovers()

    def _runs_to_keep(self) -> set[Path]:
        newest = sorted(self._runs, key=lambda folder: self._runs[folder], reverse=True)
        trained = [folder for folder in newest if (folder / "config.json").exists()]
        others = [folder for folder in newest if folder not in trained]
        limit = self._retention.keep_runs
        protected = {version.run_id for version in self._protected}
        return {
            *trained[:limit],
            *others[:limit],
            *(folder for folder, changed in self._runs.items() if changed >= self._cutoff),
            *(folder for folder in trained if protected & {record["run_id"] for record in _records(folder)}),
        }

    def _old_runs(self) -> Iterator[Removal]:
        for folder in sorted(self._runs.keys() - self._kept_runs):
            reason = f"last changed on {self._runs[folder]:%Y-%m-%d}"
            yield Removal(f"run {folder.name}", reason, (folder,), _folder_removal(folder))

    def _old_versions(self) -> Iterator[Removal]:
        for registry in self._registries:
            for version in registry.versions():
                if version not in self._kept_versions:
                    try:
                        folders: tuple[Path, ...] = (registry.packaged(version),)
                    except ArtifactError:
                        folders = ()
                    reason = f"registered on {version.created:%Y-%m-%d}"
                    target = f"version {version} of {registry.task}"
                    yield Removal(target, reason, folders, _version_removal(registry, version))

    def _versions_to_keep(self) -> list[Version]:
        used = {record["model_version"] for folder in self._kept_runs for record in _records(folder)}
        return [
            version
            for registry in self._registries
            for version in registry.versions()
            if version in self._protected or version.number in used or version.created >= self._cutoff
        ]

    def _old_bentos(self) -> Iterator[Removal]:
        kept = {bento_store.latest()}
        for version in self._kept_versions:
            if version.bento:
                kept |= {version.bento, bento_store.promoted_tag(version.bento)}
        runs = {folder.name for folder in self._kept_runs}
        for tag in [*bento_store.tags(CANDIDATE), *bento_store.tags(bento_store.CHAMPION)]:
            created = bento_store.created(tag)
            if tag not in kept and created < self._cutoff and _building_run(tag) not in runs:
                folder = bento_store.bento_folder(tag)
                yield Removal(f"Bento {tag}", f"created on {created:%Y-%m-%d}", (folder,), _bento_removal(tag))

    def _old_results(self) -> Iterator[Removal]:
        results = sorted(self._store.results(), key=lambda result: result.last_used)
        needed = {result.folder for version in self._protected for result in lineage(results, version.fingerprint)}
        kept_bytes = sum(result.size_bytes for result in results)
        limit_bytes = self._retention.store_gb * GIGABYTE
        for result in results:
            if result.folder in needed or result.last_used >= self._in_use_since:
                continue
            if result.last_used >= self._store_cutoff and kept_bytes <= limit_bytes:
                continue
            kept_bytes -= result.size_bytes
            reason = f"last used on {result.last_used:%Y-%m-%d}"
            remote_bytes = result.size_bytes if self._store.is_remote else 0
            remove = _result_removal(self._store, result)
            yield Removal(f"result {result}", reason, (result.folder,), remove, remote_bytes)

    def _old_tracked_runs(self) -> Iterator[Removal]:
        """MLflow's runs of flows whose folders are gone, but for those that a kept version came from."""
        used = {version.run_id for version in self._kept_versions}
        kept = {str(folder) for folder in self._kept_runs}
        old = [
            run
            for run in tracked_runs(self._uri)
            if run.folder not in kept and run.started < self._cutoff and not run.running and not used & set(run.family)
        ]
        if old:
            ids = [run_id for run in old for run_id in run.family]
            folders = tuple(folder for run in old for folder in run.artifacts)
            first, last = min(run.started for run in old), max(run.started for run in old)
            yield Removal(
                f"{len(old)} MLflow runs with their candidates",
                f"started from {first:%Y-%m-%d} to {last:%Y-%m-%d}",
                folders,
                partial(delete_tracked_runs, self._uri, ids),
            )

    def _old_searches(self) -> Iterator[Removal]:
        for journal in sorted(self._searches.glob("*.journal")):
            changed = _last_change(journal)
            if changed < self._cutoff:
                paths = tuple(path for path in (journal, journal.with_suffix(".lock")) if path.exists())
                remove = partial(_remove_search, journal)
                yield Removal(f"search {journal.stem}", f"last changed on {changed:%Y-%m-%d}", paths, remove)

    def _old_checkpoints(self) -> Iterator[Removal]:
        for unfinished in self._store.unfinished():
            stored = unfinished.folder.with_suffix(".json").exists()
            if stored or unfinished.last_change < self._checkpoint_cutoff:
                reason = "its fit is stored" if stored else f"last written on {unfinished.last_change:%Y-%m-%d}"
                remove = partial(self._store.remove_unfinished, unfinished)
                target = f"checkpoints of {unfinished}"
                yield Removal(target, reason, (unfinished.folder,), remove, unfinished.remote_bytes)

    def _leftovers(self) -> Iterator[Removal]:
        for path in self._store.leftovers():
            target = f"leftover {path.parent.name}/{path.name}"
            yield Removal(target, "left by a killed process", (path,), _leftover_removal(path))
        for path in bento_store.interrupted_promotions():
            if _last_change(path) < self._in_use_since:
                yield Removal(f"leftover {path.name}", "left by a killed process", (path,), _folder_removal(path))


def _protected(registry: Registry) -> list[Version]:
    """The champion, what a rollback would restore, and what a comparison may need."""
    champions = (registry.champion(), promotion.previous_champion(registry), *promotion.reference_versions(registry))
    return [version for version in champions if version is not None]


def lineage(results: Sequence[StoreRecord], fit: str) -> list[StoreRecord]:
    """The fit with this key, its ancestors, and the results measured on it and packaged from it.

    Result B descends from result A if one of B's inputs is, by digest, an output of A.
    """
    outputs = {result.folder: result.outputs for result in results}
    found = [result for result in results if result.folder.name == fit]
    of_fit = {digest for result in found for digest in outputs[result.folder]}
    measured = [result for result in results if result.inputs & of_fit]
    for result in found:  # grows during the iteration
        parents = [other for other in results if outputs[other.folder] & result.inputs and other not in found]
        found.extend(parents)
    return [*found, *measured]


def reclaimable_bytes(folders: Sequence[Path]) -> int:
    """Bytes freed by removing these folders: a file that is also hard-linked from outside them frees nothing."""
    links: dict[tuple[int, int], tuple[int, int, int]] = {}
    for path in (path for folder in folders for path in _files(folder)):
        stat = path.stat()
        inside, _, _ = links.get((stat.st_dev, stat.st_ino), (0, 0, 0))
        links[stat.st_dev, stat.st_ino] = (inside + 1, stat.st_nlink, stat.st_size)
    return sum(size_bytes for inside, total, size_bytes in links.values() if inside == total)


def _records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in run.glob("*/mlflow_id.json")]


def _building_run(tag: str) -> str | None:
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


def _folder_removal(folder: Path) -> Callable[[], bool]:
    def remove() -> bool:
        shutil.rmtree(folder)
        return True

    return remove


def _version_removal(registry: Registry, version: Version) -> Callable[[], bool]:
    def remove() -> bool:
        if version == registry.champion():
            return False  # promoted since
        registry.remove(version)
        return True

    return remove


def _remove_search(journal: Path) -> bool:
    lock = FileLock(journal.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False  # running
    try:
        journal.unlink(missing_ok=True)
    finally:
        lock.release()
    journal.with_suffix(".lock").unlink(missing_ok=True)
    return True


def _bento_removal(tag: str) -> Callable[[], bool]:
    def remove() -> bool:
        if tag == bento_store.latest():
            return False  # promoted since
        bento_store.delete(tag)
        return True

    return remove


def _result_removal(store: Store, result: StoreRecord) -> Callable[[], bool]:
    return lambda: store.remove(result)


def _leftover_removal(path: Path) -> Callable[[], bool]:
    def remove() -> bool:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            os.unlink(path)
        return True

    return remove
