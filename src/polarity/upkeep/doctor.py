"""Check the registry, the Bento store and the result store for consistency, and repair what a killed process left.

The registry is authoritative for the champion; the record beside a folder is authoritative for a result.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from polarity.bento import store as bento_store
from polarity.errors import ArtifactError
from polarity.pipeline.store import DRAFT_PREFIX, Store
from polarity.registry import promotion
from polarity.registry.tracking import Attempt, running_attempts
from polarity.registry.versions import Registry


@dataclass(frozen=True)
class Finding:
    """A problem, and the function that repairs it (`None` if only a person can)."""

    problem: str
    repair: Callable[[], object] | None


def examine(registry: Registry, store: Store) -> list[Finding]:
    """Find every problem in the registry, the Bento store and the result store.

    Raises
    ------
    ServiceUnavailable
        If MLflow does not respond.
    """
    return [*_champion(registry), *_versions(registry), *_attempts(registry), *_results(store)]


def _champion(registry: Registry) -> Iterator[Finding]:
    champion = registry.champion()
    latest = bento_store.latest()
    if champion is None:
        if latest is not None:
            yield Finding(f"sentiment:latest is {latest}, but the registry has no champion.", None)
        return
    if champion.bento is None:
        yield Finding(f"The champion {champion} has no Bento.", None)
        return
    if latest != bento_store.promoted_tag(champion.bento):
        problem = f"sentiment:latest is {latest}, but the champion is {champion} with {champion.bento}."
        try:
            known = bento_store.exists(champion.bento) or bento_store.exists(bento_store.promoted_tag(champion.bento))
        except ArtifactError:
            known = False
        yield Finding(problem, (lambda: promotion.reconcile(registry)) if known else None)


def _versions(registry: Registry) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for version in sorted(registry.versions(), key=lambda v: v.number):
        if version.fingerprint in seen:
            yield Finding(f"Versions {seen[version.fingerprint]} and {version.number} come from the same fit.", None)
        seen.setdefault(version.fingerprint, version.number)


def _attempts(registry: Registry) -> Iterator[Finding]:
    for attempt in running_attempts(registry.uri):
        if not is_alive(attempt):
            problem = f"The MLflow run {attempt.name} ({attempt.run_id}) is marked as running, but its process is gone."
            yield Finding(problem, attempt.mark_killed)


def is_alive(attempt: Attempt) -> bool:
    """Whether the process that writes a run is alive; a run of another machine counts as alive."""
    if attempt.process is None:
        return True
    try:
        return bool(psutil.Process(attempt.process).create_time() <= attempt.started_s + 1)
    except psutil.Error:
        return False


def _results(store: Store) -> Iterator[Finding]:
    for path in store.leftovers():
        if path.name.startswith(DRAFT_PREFIX):
            yield Finding(f"{path} is an abandoned partial result.", _removal(path))
        elif path.is_dir():
            yield Finding(f"{path} has no record beside it.", _removal(path))


def _removal(folder: Path) -> Callable[[], object]:
    return lambda: shutil.rmtree(folder)
