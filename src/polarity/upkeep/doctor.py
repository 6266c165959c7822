"""Check the registry, the Bento store and the result store for consistency, and repair what a killed process left.

The registry is authoritative for the champion; the record beside a folder is authoritative for a result.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from polarity.bento import store as bento_store
from polarity.errors import ArtifactError
from polarity.inference.signature import KeyOptions, verify
from polarity.pipeline.store import DRAFT_PREFIX, Store
from polarity.registry import promotion
from polarity.registry.tasks import registered_tasks, served_task
from polarity.registry.tracking import running_attempts
from polarity.registry.versions import Registry


@dataclass(frozen=True)
class Finding:
    """A problem, and the function that repairs it (`None` if only a person can)."""

    problem: str
    repair: Callable[[], object] | None


def examine(registry: Registry, store: Store) -> list[Finding]:
    """Find every problem in the registry, the Bento store and the result store.

    Parameters
    ----------
    registry : Registry
        Of any task; all tasks are examined.
    store : Store

    Raises
    ------
    ServiceUnavailable
        If MLflow does not respond.
    """
    registries = [Registry(registry.uri, task.name) for task in registered_tasks(registry.uri)]
    return [
        *_served(registry),
        *_signature(),
        *(finding for of in registries for finding in (*_champion(of), *_versions(of))),
        *_attempts(registry),
        *_results(store),
    ]


def _served(registry: Registry) -> Iterator[Finding]:
    champion = Registry(registry.uri, served_task(registry.uri)).champion()
    latest = bento_store.latest()
    if champion is None:
        if latest is not None:
            yield Finding(f"sentiment:latest is {latest}, but the registry has no champion.", None)
    elif champion.bento is not None and latest != bento_store.promoted_tag(champion.bento):
        problem = f"sentiment:latest is {latest}, but the champion is {champion} with {champion.bento}."
        yield Finding(problem, lambda: promotion.reconcile(registry, print))


def _signature() -> Iterator[Finding]:
    key, latest = KeyOptions.read().verify_key, bento_store.latest()
    if key and latest is not None:
        try:
            verify(bento_store.bento_folder(latest), key)
        except ArtifactError as error:
            yield Finding(f"{error} If it should be as it is: python -m polarity sign {latest}.", None)


def _champion(registry: Registry) -> Iterator[Finding]:
    champion = registry.champion()
    if champion is not None and champion.bento is None:
        build = partial(promotion.ensure_bento, registry, champion)
        yield Finding(f"The champion {champion} of the task {registry.task} has no Bento.", build)


def _versions(registry: Registry) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for version in sorted(registry.versions(), key=lambda v: v.number):
        if version.fingerprint in seen:
            same = f"Versions {seen[version.fingerprint]} and {version.number} of the task {registry.task}"
            yield Finding(f"{same} come from the same fit.", None)
        seen.setdefault(version.fingerprint, version.number)


def _attempts(registry: Registry) -> Iterator[Finding]:
    for attempt in running_attempts(registry.uri):
        if not attempt.is_alive:
            problem = f"The MLflow run {attempt.name} ({attempt.run_id}) is marked as running, but its process is gone."
            yield Finding(problem, attempt.mark_killed)


def _results(store: Store) -> Iterator[Finding]:
    for path in store.leftovers():
        if path.name.startswith(DRAFT_PREFIX):
            yield Finding(f"{path} is an abandoned partial result.", _removal(path))
        elif path.is_dir():
            yield Finding(f"{path} has no record beside it.", _removal(path))


def _removal(folder: Path) -> Callable[[], object]:
    return lambda: shutil.rmtree(folder)
